#include "kernels/common/windows.h"

#include <gtest/gtest.h>

#include <limits>
#include <vector>

namespace filterscope::kernels {
namespace {

TEST(Divisor, MatchesIntegerDivision) {
  constexpr int kLargest = std::numeric_limits<int>::max();
  std::vector<int> divisors{46340,   46341,         65535,        65536,   65537,
                            1 << 30, (1 << 30) + 1, kLargest - 1, kLargest};
  for (int divisor = 1; divisor < 3000; ++divisor) divisors.push_back(divisor);
  for (const int divisor : divisors) {
    const Divisor by(divisor);
    EXPECT_EQ(by.divisor(), divisor);
    // Around changes of the quotient, at both ends and in the middle.
    for (const int quotient :
         {0, 1, 2, 3, kLargest / divisor / 2, kLargest / divisor - 1, kLargest / divisor}) {
      for (const int offset : {-1, 0, 1}) {
        const std::int64_t dividend = std::int64_t{quotient} * divisor + offset;
        if (dividend < 0 || dividend > kLargest) continue;
        ASSERT_EQ(by.quotient(static_cast<int>(dividend)), dividend / divisor)
            << dividend << " / " << divisor;
      }
    }
    ASSERT_EQ(by.quotient(kLargest), kLargest / divisor) << divisor;
  }
}

TEST(Windows, AreNumberedByRowAndImage) {
  constexpr int kImages = 3;
  for (int height = 1; height < 8; ++height) {
    for (int width = 1; width < 8; ++width) {
      const Windows windows(height, width);
      int window = 0;
      for (int image = 0; image < kImages; ++image) {
        for (int y = 0; y < height; y += 2) {
          for (int x = 0; x < width; x += 2, ++window) {
            const Windows::Origin origin = windows.origin(window);
            EXPECT_EQ(origin.position, (image * height + y) * width + x);
            EXPECT_EQ(origin.y, y);
            EXPECT_EQ(origin.x, x);
          }
        }
      }
      EXPECT_EQ(window, kImages * windows.per_image());
    }
  }
}

}  // namespace
}  // namespace filterscope::kernels
