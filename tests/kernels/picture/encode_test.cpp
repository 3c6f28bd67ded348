#include "kernels/picture/encode.h"

#include <gtest/gtest.h>

#include "host/ascent/operations/picture.h"
#include "tests/support/device.h"
#include "tests/support/random_network.h"

namespace filterscope {
namespace {

class EncodeTest : public test::DeviceTest {};
FILTERSCOPE_DEVICE_TEST_SUITE(EncodeTest);

TEST_P(EncodeTest, MatchesTheHostByteForByte) {
  // Sizes that are odd and multiples of the vector width; fewer values than threads, and many times as many.
  for (const std::size_t size : {3u, 7u * 5 * 3, 33u * 35 * 3, 24u * 40 * 3}) {
    std::vector<std::vector<float>> images{test::random_values(size, 1, -0.3f, 1.7f),
                                           test::random_values(size, 2, 1e-3f, 1.1e-3f),
                                           std::vector<float>(size, -0.25f), std::vector<float>(size)};
    // All halves between bytes: 0, 0.5, 1, ... 255.
    for (std::size_t i = 0; i < size; ++i) images.back()[i] = static_cast<float>(i % 511) / 2.f;
    std::vector<float> all;
    std::vector<std::uint8_t> expected;
    for (const std::vector<float>& image : images) {
      all.insert(all.end(), image.begin(), image.end());
      const std::vector<std::uint8_t> picture = encode_picture({}, image, {1, static_cast<int>(size / 3)});
      expected.insert(expected.end(), picture.begin(), picture.end());
    }
    const auto device_images = test::upload(all);
    const auto pictures = test::poisoned<std::uint8_t>(all.size());
    kernels::encode({.images = device_images.data(),
                     .pictures = pictures.data(),
                     .images_count = static_cast<int>(images.size()),
                     .values_per_image = static_cast<int>(size)},
                    nullptr);
    EXPECT_EQ(test::download(pictures), expected) << size << " values";
  }
}

}  // namespace
}  // namespace filterscope
