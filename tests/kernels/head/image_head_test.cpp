#include "kernels/head/image_head.h"

#include <gtest/gtest.h>

#include "filter_head_check.h"
#include "kernels/first_layer/dgrad.h"

namespace filterscope {
namespace {

using namespace test::filter_head;

class ImageHeadTest : public test::DeviceTest {};
FILTERSCOPE_DEVICE_TEST_SUITE(ImageHeadTest);

void check_image_head(Extent extent, const InputMapping& mapping, const kernels::HeadWindow& window = {}) {
  SCOPED_TRACE(testing::Message() << testing::PrintToString(extent) << ", " << mapping.name);
  const std::size_t image_size = static_cast<std::size_t>(extent.positions() * 3);
  const std::vector<float> images = test::random_values(kImages * image_size, 1);
  const Parameters parameters = random_parameters(3, 2);
  const auto device_images = test::upload(images);
  const auto weights = test::upload(parameters.weights);
  const auto bias = test::upload(parameters.bias);
  const auto filters = test::upload(kFilters);
  const auto sums = test::poisoned<float>(static_cast<std::size_t>(kImages * kernels::kFilterHeadParts));
  const auto active = test::poisoned<std::uint32_t>(kImages * words(extent));
  kernels::image_head({.images = device_images.data(),
                       .weights = weights.data(),
                       .bias = bias.data(),
                       .filters = filters.data(),
                       .map = test::to_input_map(mapping),
                       .sums = sums.data(),
                       .active = active.data(),
                       .images_count = kImages,
                       .height = extent.height,
                       .width = extent.width,
                       .window = window},
                      nullptr);
  std::vector<reference::Map> inputs;
  std::vector<reference::Map> magnitudes;
  for (int i = 0; i < kImages; ++i) {
    const reference::Map image(extent, 3, std::span(images).subspan(i * image_size, image_size));
    inputs.push_back(reference::apply_mapping(mapping, image));
    magnitudes.push_back(reference::apply_mapping(test::magnitudes(mapping), image));
  }
  expect_head({test::download(sums), test::download(active)}, extent, inputs, magnitudes, parameters, 30,
              window);
}

TEST_P(ImageHeadTest, MatchesReference) {
  for (const Extent extent : {Extent{1, 1}, Extent{2, 3}, Extent{33, 35}}) {
    check_image_head(extent, identity_mapping());
  }
  for (const InputMapping& mapping : test::mappings()) check_image_head({15, 17}, mapping);
  for (const kernels::HeadWindow& window : windows_of({15, 17}))
    check_image_head({15, 17}, keras_mapping(), window);
}

void check_image_gradient(Extent extent, const InputMapping& mapping, Rescue rescue = Rescue::off,
                          const kernels::HeadWindow& window = {}) {
  SCOPED_TRACE(testing::Message() << testing::PrintToString(extent) << ", " << mapping.name << ", rescue "
                                  << static_cast<int>(rescue));
  constexpr float kScale = 0.37f;
  const std::vector<std::uint32_t> active = random_active(extent, 1);
  const Parameters parameters = random_parameters(3, 2);
  const auto device_active = test::upload(active);
  const auto weights = test::upload(parameters.weights);
  const auto filters = test::upload(kFilters);
  const auto gradients = test::poisoned<float>(static_cast<std::size_t>(kImages * extent.positions() * 3));
  const auto squares = test::poisoned<float>(
      static_cast<std::size_t>(kImages * kernels::image_gradient_parts(extent.height, extent.width)));
  const auto sums = test::upload(sums_of(rescue, static_cast<std::uint64_t>(extent.width)));
  kernels::image_head_gradient(
      {.active = device_active.data(),
       .sums = rescue == Rescue::off ? nullptr : sums.data() + kernels::kFilterHeadParts,
       .weights = weights.data(),
       .filters = filters.data(),
       .map = test::to_input_map(mapping),
       .scale = kScale,
       .image_gradients = gradients.data(),
       .squares = squares.data(),
       .images_count = kImages,
       .height = extent.height,
       .width = extent.width,
       .window = window},
      nullptr);
  std::vector<double> expected;
  std::vector<double> magnitudes;
  for (int image = 0; image < kImages; ++image) {
    const reference::Map response = response_gradient(
        active, is_rescued(rescue, image), static_cast<std::size_t>(image), extent, kScale, window);
    const std::span<const float> filter = parameters.filter(kFilters[image]);
    const reference::Map gradient =
        reference::mapping_gradient(mapping, reference::convolve_input_gradient(response, filter, 3));
    const reference::Map magnitude = reference::mapping_gradient(
        test::magnitudes(mapping), reference::convolve_input_gradient(response, test::magnitudes(filter), 3));
    expected.insert(expected.end(), gradient.values.begin(), gradient.values.end());
    magnitudes.insert(magnitudes.end(), magnitude.values.begin(), magnitude.values.end());
  }
  const std::vector<float> actual = test::download(gradients);
  test::expect_sums<float>(actual, expected, magnitudes, 14);
  test::expect_squares(test::download(squares), actual, kImages, extent);
}

TEST_P(ImageHeadTest, GradientMatchesReference) {
  for (const Extent extent : {Extent{1, 1}, Extent{2, 3}, Extent{33, 35}}) {
    check_image_gradient(extent, identity_mapping());
  }
  for (const InputMapping& mapping : test::mappings()) check_image_gradient({15, 17}, mapping);
}

TEST_P(ImageHeadTest, RescuedGradientMatchesReference) {
  for (const Rescue rescue : kRescues) {
    for (const kernels::HeadWindow& window : windows_of({17, 19}))
      check_image_gradient({17, 19}, test::mappings().back(), rescue, window);
    check_image_gradient({1, 1}, identity_mapping(), rescue);
  }
}

}  // namespace
}  // namespace filterscope
