#include "kernels/first_layer/fprop.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "../tolerance.h"
#include "first_layer.h"
#include "tests/support/device.h"
#include "tests/support/random_network.h"

namespace filterscope {
namespace {

class FirstLayerFpropTest : public test::DeviceTest {};
FILTERSCOPE_DEVICE_TEST_SUITE(FirstLayerFpropTest);

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
using Kernel = kernels::FirstLayerFpropKernel<T>;

/// Calls the body for all kernels of all types.
template <class Body>
void for_each_kernel(const Body& body) {
  const auto for_each_of = [&]<class T>(std::span<const Kernel<T>> all) {
    for (const Kernel<T>& kernel : all) {
      SCOPED_TRACE(testing::Message() << kernel.name << ", " << sizeof(T) << " bytes");
      body(kernel);
    }
  };
  for_each_of(kernels::first_layer_fprop_kernels<float>());
  for_each_of(kernels::first_layer_fprop_kernels<kernels::Half>());
  for_each_of(kernels::first_layer_fprop_kernels<kernels::Bfloat16>());
}

template <class T>
Result run(const Kernel<T>& kernel, const Case& shape, const std::vector<float>& images,
           const Parameters& parameters, bool with_mask = true) {
  const std::size_t values = images.size() / 3 * static_cast<std::size_t>(shape.filters);
  const auto device_images = test::upload(images);
  const auto weights = test::upload(parameters.weights);
  const auto bias = test::upload(parameters.bias);
  const auto output = test::poisoned<T>(values);
  const auto mask = test::poisoned<std::uint32_t>(with_mask ? values / 32 : 0);
  kernel.launch({.images = device_images.data(),
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

// Weights match the input's range, so that about half of the outputs are zero.
Parameters random_parameters(const Case& shape, std::uint64_t seed) {
  const std::size_t filters = static_cast<std::size_t>(shape.filters);
  return {test::random_values(filters * 27, seed, -1.f), test::random_values(filters, seed + 1, -1.f)};
}

// The largest magnitude in the network's input.
float largest(const InputMapping& mapping, const std::vector<float>& images) {
  float largest = 0;
  for (std::size_t i = 0; i < images.size(); ++i) {
    for (int c = 0; c < 3; ++c) {
      if (mapping.source[c] == static_cast<int>(i % 3))
        largest = std::max(largest, std::abs(mapping.scale[c] * images[i] + mapping.offset[c]));
    }
  }
  return largest;
}

template <class T>
void check(const Kernel<T>& kernel, const Case& shape, const std::vector<float>& images,
           const Parameters& parameters) {
  SCOPED_TRACE(testing::Message() << testing::PrintToString(shape.extent) << ", " << shape.filters
                                  << " filters, " << shape.mapping.name);
  const Result actual = run(kernel, shape, images, parameters);

  const std::vector<float> filters = test::filters_last(parameters.weights, shape.filters);
  const std::size_t image_size = images.size() / shape.images;
  // 27 products, the bias, and two roundings in the map. The split loses 3 * 2^-22, and tensor cores truncate
  // each of the 17 terms that they add at 2^-23 of the sum; this happens three times, since the earlier
  // products are 2^-10 of the sum.
  const int terms = kernel.name == "direct" ? 30 : 30 + 12 + 3 * 17 * 2;
  // The low parts' underflow in fp16: 2^-39 of the block's largest value, in each of the factors.
  const double smallest = kernel.name == "direct"
                              ? 0
                              : 54 * 0x1p-39 * largest(shape.mapping, images) *
                                    std::abs(*std::ranges::max_element(parameters.weights, {},
                                                                       [](float w) { return std::abs(w); }));
  std::vector<double> expected;
  std::vector<double> magnitudes;
  for (int i = 0; i < shape.images; ++i) {
    const reference::Map image(shape.extent, 3, std::span(images).subspan(i * image_size, image_size));
    const reference::Map output = reference::relu(
        reference::convolve(reference::apply_mapping(shape.mapping, image), filters, parameters.bias));
    const reference::Map magnitude = reference::convolve(
        reference::apply_mapping(test::magnitudes(shape.mapping), test::magnitudes(image)),
        test::magnitudes(filters), test::magnitudes(parameters.bias));
    expected.insert(expected.end(), output.values.begin(), output.values.end());
    for (const double value : magnitude.values) magnitudes.push_back(value + smallest / (terms * 0x1p-24));
  }
  test::expect_sums<T>(actual.output, expected, magnitudes, terms);

  std::vector<std::uint32_t> mask(actual.mask.size(), 0);
  for (std::size_t i = 0; i < actual.output.size(); ++i) {
    if (actual.output[i] > 0) mask[i / 32] |= 1u << i % 32;
  }
  EXPECT_EQ(actual.mask, mask);
  EXPECT_EQ(run(kernel, shape, images, parameters, false).output, actual.output);
}

TEST_P(FirstLayerFpropTest, MatchesReference) {
  for_each_kernel([](const auto& kernel) {
    const auto check_random = [&](const Case& shape) {
      check(kernel, shape, random_images(shape, 1), random_parameters(shape, 2));
    };
    for (const Extent extent : {Extent{1, 1}, Extent{2, 3}, Extent{15, 17}}) check_random({2, extent, 64});
    check_random({1, {16, 32}, 64});  // One whole tile,
    check_random({1, {33, 35}, 64});  // and more in each direction.
    for (const InputMapping& mapping : test::mappings()) check_random({2, {3, 5}, 128, mapping});
  });
}

// Where large products cancel, their errors show, which the output's rounding hides elsewhere.
TEST_P(FirstLayerFpropTest, MatchesReferenceWhereProductsCancel) {
  const Case shape{1, {7, 18}, 64};
  Parameters parameters = random_parameters(shape, 8);
  for (std::size_t i = 0; i < parameters.weights.size(); ++i) {
    if (i % 27 % 2 == 1) parameters.weights[i] = -parameters.weights[i - 1];
  }
  std::ranges::fill(parameters.bias, 0.f);
  std::vector<float> images = random_images(shape, 9);
  for (float& value : images) value = 1.f + value / 64;
  for_each_kernel([&](const auto& kernel) { check(kernel, shape, images, parameters); });
}

TEST_P(FirstLayerFpropTest, MatchesReferenceBesideABrightPixel) {
  const Case shape{1, {5, 7}, 64};
  Parameters parameters = random_parameters(shape, 10);
  std::ranges::fill(parameters.bias, 0.f);
  std::vector<float> images = random_images(shape, 11);
  for (float& value : images) value /= 1000;
  for (const float bright : {1e4f, -1e4f}) {
    images[0] = bright;
    for_each_kernel([&](const auto& kernel) { check(kernel, shape, images, parameters); });
  }
}

TEST_P(FirstLayerFpropTest, TakesImagesOfAnyRange) {
  const Case shape{1, {3, 9}, 64};
  const Parameters parameters = random_parameters(shape, 12);
  const std::vector<float> images = random_images(shape, 13);
  for_each_kernel([&](const auto& kernel) {
    const Result expected = run(kernel, shape, images, parameters);
    for (const float factor : {0x1p-30f, 0x1p30f}) {
      SCOPED_TRACE(factor);
      std::vector<float> other_images = images;
      Parameters other = parameters;
      for (float& value : other_images) value *= factor;
      for (float& value : other.weights) value /= factor;
      const Result actual = run(kernel, shape, other_images, other);
      EXPECT_EQ(actual.output, expected.output);
      EXPECT_EQ(actual.mask, expected.mask);
    }
    // Images so small that only the bias remains, and so large that it does not matter.
    const auto scaled = [&](float factor) {
      std::vector<float> other = images;
      for (float& value : other) value *= factor;
      return other;
    };
    const Result tiny = run(kernel, shape, scaled(0x1p-120f), parameters);
    for (std::size_t i = 0; i < tiny.output.size(); ++i) {
      const float bias = std::max(parameters.bias[i % 64], 0.f);
      EXPECT_NEAR(tiny.output[i], bias, 0x1p-8f * bias) << i;
    }
    Parameters unbiased = parameters;
    std::ranges::fill(unbiased.bias, 0.f);
    EXPECT_EQ(run(kernel, shape, scaled(0x1p120f), unbiased).mask, run(kernel, shape, images, unbiased).mask);
  });
}

TEST_P(FirstLayerFpropTest, ExactlyZeroIsInactive) {
  const Case shape{1, {3, 9}, 64};
  Parameters parameters = random_parameters(shape, 3);
  for (int filter = 0; filter < shape.filters; ++filter) {
    // The last four round to zero in some type.
    const float biases[] = {0.f, -0.f, 0x1p-14f, -0x1p-14f, -1e-9f, -0x1p-25f, -0x1p-26f, -0x1p-149f};
    parameters.bias[filter] = biases[filter % 8];
  }
  for_each_kernel([&](const auto& kernel) {
    // A black image leaves only the bias.
    const Result actual = run(kernel, shape, std::vector<float>(3 * 9 * 3, 0.f), parameters);
    for (std::size_t i = 0; i < actual.output.size(); ++i) {
      EXPECT_EQ(actual.output[i], i % 8 == 2 ? 0x1p-14f : 0.f) << i;
    }
    EXPECT_THAT(actual.mask, testing::Each(0x04040404u));
  });
}

// A pixel that is not finite shows in the outputs that depend on it; for all others it counts as zero.
TEST_P(FirstLayerFpropTest, KeepsNaN) {
  const Case shape{1, {7, 33}, 64};
  const Parameters parameters = random_parameters(shape, 4);
  std::vector<float> images = random_images(shape, 5);
  const std::size_t pixel = 3 * (2 * 33 + 20) + 1;
  images[pixel] = 0.f;
  for_each_kernel([&](const auto& kernel) {
    const Result with_zero = run(kernel, shape, images, parameters);
    std::vector<float> with_nan = images;
    with_nan[pixel] = std::numeric_limits<float>::quiet_NaN();
    const Result actual = run(kernel, shape, with_nan, parameters);
    for (std::size_t i = 0; i < actual.output.size(); ++i) {
      const std::size_t y = i / 64 / 33;
      const std::size_t x = i / 64 % 33;
      if (y >= 1 && y <= 3 && x >= 19 && x <= 21) {
        EXPECT_THAT(actual.output[i], testing::IsNan()) << i;
      } else {
        EXPECT_EQ(actual.output[i], with_zero.output[i]) << i;
      }
    }
    with_nan[pixel] = std::numeric_limits<float>::infinity();
    EXPECT_THAT(run(kernel, shape, with_nan, parameters).output,
                testing::Contains(testing::Not(testing::Truly([](float v) { return std::isfinite(v); }))));
  });
}

TEST_P(FirstLayerFpropTest, DoesNotDependOnTheBatch) {
  const Case one{1, {5, 7}, 64, keras_mapping()};
  const Case three{3, {5, 7}, 64, keras_mapping()};
  const Parameters parameters = random_parameters(one, 5);
  const std::vector<float> image = random_images(one, 6);
  std::vector<float> images = random_images(three, 7);
  for (float& value : images) value *= 100;
  std::ranges::copy(image, images.end() - static_cast<std::ptrdiff_t>(image.size()));
  for_each_kernel([&](const auto& kernel) {
    const std::vector<float> alone = run(kernel, one, image, parameters).output;
    const std::vector<float> last = run(kernel, three, images, parameters).output;
    EXPECT_TRUE(std::ranges::equal(alone, std::span(last).last(alone.size())));
  });
}

}  // namespace
}  // namespace filterscope
