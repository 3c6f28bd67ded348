#include "kernels/first_convolution.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "network_ends.h"
#include "tests/support/device.h"
#include "tests/support/random_network.h"
#include "tolerance.h"

namespace filterscope {
namespace {

class FirstConvolutionTest : public test::DeviceTest {};
FILTERSCOPE_DEVICE_TEST_SUITE(FirstConvolutionTest);

struct Case {
  int images;
  Extent extent;
  int filters;
  InputMapping mapping = identity_mapping();
};

struct Parameters {
  std::vector<float> weights;
  std::vector<float> bias;
};

struct Result {
  std::vector<float> output;
  std::vector<std::uint32_t> mask;
};

template <class T>
Result run(const Case& shape, const std::vector<float>& images, const Parameters& parameters,
           bool with_mask = true) {
  const std::size_t values = images.size() / 3 * static_cast<std::size_t>(shape.filters);
  const auto device_images = test::upload(images);
  const auto weights = test::upload(parameters.weights);
  const auto bias = test::upload(parameters.bias);
  const auto output = test::poisoned<T>(values);
  const auto mask = test::poisoned<std::uint32_t>(with_mask ? values / 32 : 0);
  kernels::first_convolution<T>({.images = device_images.data(),
                                 .weights = weights.data(),
                                 .bias = bias.data(),
                                 .map = test::to_input_map(shape.mapping),
                                 .output = output.data(),
                                 .mask = mask.data(),
                                 .images_count = shape.images,
                                 .height = shape.extent.height,
                                 .width = shape.extent.width,
                                 .out_channels = shape.filters},
                                nullptr);
  return {test::widen(test::download(output)), test::download(mask)};
}

std::vector<float> random_images(const Case& shape, std::uint64_t seed) {
  return test::random_values(static_cast<std::size_t>(shape.images) * shape.extent.positions() * 3, seed);
}

// Filters answer to the input's range: about half of the outputs are zero.
Parameters random_parameters(const Case& shape, std::uint64_t seed) {
  const std::size_t filters = static_cast<std::size_t>(shape.filters);
  return {test::random_values(filters * 27, seed, -1.f), test::random_values(filters, seed + 1, -1.f)};
}

template <class T>
void check(const Case& shape) {
  SCOPED_TRACE(testing::Message() << testing::PrintToString(shape.extent) << ", " << shape.filters
                                  << " filters, " << shape.mapping.name << ", " << sizeof(T) << " bytes");
  const std::vector<float> images = random_images(shape, 1);
  const Parameters parameters = random_parameters(shape, 2);
  const Result actual = run<T>(shape, images, parameters);

  const std::vector<float> kernel = test::filters_last(parameters.weights, shape.filters);
  const std::size_t image_size = images.size() / shape.images;
  std::vector<double> expected;
  std::vector<double> magnitudes;
  for (int i = 0; i < shape.images; ++i) {
    const reference::Map image(shape.extent, 3, std::span(images).subspan(i * image_size, image_size));
    const reference::Map output = reference::relu(
        reference::convolve(reference::apply_mapping(shape.mapping, image), kernel, parameters.bias));
    const reference::Map magnitude = reference::convolve(
        reference::apply_mapping(test::magnitudes(shape.mapping), test::magnitudes(image)),
        test::magnitudes(kernel), test::magnitudes(parameters.bias));
    expected.insert(expected.end(), output.values.begin(), output.values.end());
    magnitudes.insert(magnitudes.end(), magnitude.values.begin(), magnitude.values.end());
  }
  // 27 products, the bias, and two roundings in the map.
  test::expect_sums<T>(actual.output, expected, magnitudes, 30);

  std::vector<std::uint32_t> mask(actual.mask.size(), 0);
  for (std::size_t i = 0; i < actual.output.size(); ++i) {
    if (actual.output[i] > 0) mask[i / 32] |= 1u << i % 32;
  }
  EXPECT_EQ(actual.mask, mask);
  EXPECT_EQ(run<T>(shape, images, parameters, false).output, actual.output);
}

template <class T>
void check_all() {
  for (const Extent extent : {Extent{1, 1}, Extent{2, 3}, Extent{15, 17}}) check<T>({2, extent, 64});
  check<T>({1, {16, 32}, 64});  // One whole tile,
  check<T>({1, {33, 35}, 64});  // and more each way.
  for (const InputMapping& mapping : test::mappings()) check<T>({2, {3, 5}, 128, mapping});
}

TEST_P(FirstConvolutionTest, IsTheReference) {
  check_all<float>();
  check_all<kernels::Half>();
  check_all<kernels::Bfloat16>();
}

template <class T>
void check_zeros() {
  const Case shape{1, {3, 9}, 64};
  Parameters parameters = random_parameters(shape, 3);
  for (int filter = 0; filter < shape.filters; ++filter) {
    // The last four round to zero in one type or another.
    const float biases[] = {0.f, -0.f, 0x1p-14f, -0x1p-14f, -1e-9f, -0x1p-25f, -0x1p-26f, -0x1p-149f};
    parameters.bias[filter] = biases[filter % 8];
  }
  // A black image: what remains is the bias.
  const Result actual = run<T>(shape, std::vector<float>(3 * 9 * 3, 0.f), parameters);
  for (std::size_t i = 0; i < actual.output.size(); ++i) {
    EXPECT_EQ(actual.output[i], i % 8 == 2 ? 0x1p-14f : 0.f) << i;
  }
  EXPECT_THAT(actual.mask, testing::Each(0x04040404u));
}

TEST_P(FirstConvolutionTest, IsClosedAtExactlyZero) {
  check_zeros<float>();
  check_zeros<kernels::Half>();
  check_zeros<kernels::Bfloat16>();
}

TEST_P(FirstConvolutionTest, KeepsNaN) {
  const Case shape{1, {1, 1}, 64};
  const std::vector<float> images(3, std::numeric_limits<float>::quiet_NaN());
  const Parameters parameters = random_parameters(shape, 4);
  EXPECT_THAT(run<float>(shape, images, parameters).output, testing::Each(testing::IsNan()));
  EXPECT_THAT(run<kernels::Half>(shape, images, parameters).output, testing::Each(testing::IsNan()));
  EXPECT_THAT(run<kernels::Bfloat16>(shape, images, parameters).output, testing::Each(testing::IsNan()));
}

TEST_P(FirstConvolutionTest, DoesNotDependOnTheBatch) {
  const Case one{1, {5, 7}, 64, keras_mapping()};
  const Case three{3, {5, 7}, 64, keras_mapping()};
  const Parameters parameters = random_parameters(one, 5);
  const std::vector<float> image = random_images(one, 6);
  std::vector<float> images = random_images(three, 7);
  std::ranges::copy(image, images.end() - static_cast<std::ptrdiff_t>(image.size()));
  const std::vector<float> alone = run<kernels::Half>(one, image, parameters).output;
  const std::vector<float> last = run<kernels::Half>(three, images, parameters).output;
  EXPECT_TRUE(std::ranges::equal(alone, std::span(last).last(alone.size())));
}

}  // namespace
}  // namespace filterscope
