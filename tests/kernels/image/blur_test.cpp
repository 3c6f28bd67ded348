#include "kernels/image/blur.h"

#include "host/ascent/operations/optimiser.h"
#include "images.h"
#include "tests/kernels/optimiser/state.h"

namespace filterscope {
namespace {

using kernels::AscentStatus;

class BlurTest : public test::DeviceTest {};
FILTERSCOPE_DEVICE_TEST_SUITE(BlurTest);

constexpr int kImages = 3;
constexpr int kDead = 1;

TEST_P(BlurTest, MatchesTheReferenceWhenItIsDue) {
  constexpr int kEvery = 4;
  constexpr int kEarlier = 9;
  for (const Extent extent : test::kExtents) {
    const std::size_t size = test::image_size(extent);
    const std::vector<float> before = test::random_values(kImages * size, 1, -1.f);
    for (const float deviation : {0.6f, 1.f, 1.7f}) {
      const std::vector<float> weights = blur_weights(deviation);
      const auto device_weights = test::upload(weights);
      for (const int iteration : {10, 12, 13, 15, 17}) {
        const test::State state(kImages);
        for (int i = 0; i < kImages; ++i) {
          test::store(state.status, i, i == kDead ? AscentStatus::dead : AscentStatus::climbing);
        }
        test::store(state.iteration, 0, iteration);
        const auto images = test::upload(before);
        const auto scratch = test::poisoned<float>(before.size());
        kernels::blur({.images = images.data(),
                       .scratch = scratch.data(),
                       .weights = device_weights.data(),
                       .radius = static_cast<int>(weights.size()) / 2,
                       .every = kEvery,
                       .earlier = kEarlier,
                       .state = state.pointers(),
                       .images_count = kImages,
                       .height = extent.height,
                       .width = extent.width},
                      nullptr);
        const std::vector<float> after = test::download(images);
        const bool due = iteration == 13 || iteration == 17;
        for (int i = 0; i < kImages; ++i) {
          const std::span<const float> found = test::image_of(after, i, size);
          if (due && i != kDead) {
            // Two sums of up to 13 products.
            test::expect_close(found, reference::blur(deviation, test::map_of(before, i, extent)).values,
                               2e-6);
          } else {
            EXPECT_TRUE(std::ranges::equal(found, test::image_of(before, i, size)));
          }
        }
      }
    }
  }
}

}  // namespace
}  // namespace filterscope
