#include "kernels/image/noise.h"

#include <gtest/gtest.h>

#include "host/ascent/operations/start.h"
#include "tests/support/device.h"

namespace filterscope {
namespace {

class NoiseTest : public test::DeviceTest {};
FILTERSCOPE_DEVICE_TEST_SUITE(NoiseTest);

TEST_P(NoiseTest, MatchesTheHostBitForBit) {
  const std::vector<int> layers{0, 3, 12};
  const std::vector<int> filters{0, 57, 511};
  constexpr std::uint64_t kSeed = 0x123456789abcdef0;
  const Start start{.low = -0.25f, .high = 0.7f};
  for (const int size : {33 * 35 * 3, 1, 1024}) {
    const auto device_layers = test::upload(layers);
    const auto device_filters = test::upload(filters);
    const auto images = test::poisoned<float>(layers.size() * size);
    kernels::noise({.images = images.data(),
                    .layers = device_layers.data(),
                    .filters = device_filters.data(),
                    .images_count = static_cast<int>(layers.size()),
                    .values_per_image = size,
                    .seed = kSeed,
                    .low = start.low,
                    .high = start.high},
                   nullptr);
    const std::vector<float> actual = test::download(images);
    for (std::size_t i = 0; i < layers.size(); ++i) {
      std::vector<float> expected(size);
      draw_start(start, kSeed, {layers[i], filters[i]}, expected);
      EXPECT_TRUE(std::ranges::equal(expected, std::span(actual).subspan(i * size, size))) << "image " << i;
    }
  }
}

}  // namespace
}  // namespace filterscope
