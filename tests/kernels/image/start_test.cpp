#include "kernels/image/start.h"

#include <gmock/gmock.h>

#include "host/ascent/operations/start.h"
#include "images.h"

namespace filterscope {
namespace {

class StartTest : public test::DeviceTest {};
FILTERSCOPE_DEVICE_TEST_SUITE(StartTest);

TEST_P(StartTest, GaussianNoiseIsTheHosts) {
  const std::vector<int> layers{0, 3, 12};
  const std::vector<int> filters{0, 57, 511};
  constexpr std::uint64_t kSeed = 0x123456789abcdef0;
  const Start start{.kind = Start::Kind::gaussian, .mean = 0.25f, .deviation = 1.5f};
  for (const int size : {33 * 35 * 3, 1, 1024}) {
    const auto device_layers = test::upload(layers);
    const auto device_filters = test::upload(filters);
    const auto values = test::poisoned<float>(layers.size() * size);
    kernels::gaussian_noise({.values = values.data(),
                             .layers = device_layers.data(),
                             .filters = device_filters.data(),
                             .images_count = static_cast<int>(layers.size()),
                             .values_per_image = size,
                             .seed = kSeed,
                             .mean = start.mean,
                             .deviation = start.deviation},
                            nullptr);
    const std::vector<float> found = test::download(values);
    for (int i = 0; i < 3; ++i) {
      std::vector<float> expected(size);
      draw_start(start, kSeed, {layers[i], filters[i]}, expected);
      // Logarithm, root and cosine are off by a few units in the last place; the largest factor is below 6.
      const std::span<const float> image = test::image_of(found, i, size);
      for (int at = 0; at < size; ++at) ASSERT_NEAR(image[at], expected[at], 1e-5f) << i << ", " << at;
    }
  }
}

TEST_P(StartTest, FillsExactlyTheValues) {
  const auto values = test::poisoned<float>(1001);
  kernels::fill(values.data(), 1000, -0.5f, nullptr);
  std::vector<float> found = test::download(values);
  EXPECT_TRUE(std::isnan(found.back()));
  found.pop_back();
  EXPECT_THAT(found, testing::Each(-0.5f));
}

}  // namespace
}  // namespace filterscope
