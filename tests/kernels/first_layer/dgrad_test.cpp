#include "kernels/first_layer/dgrad.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <string_view>

#include "../tolerance.h"
#include "first_layer.h"
#include "tests/support/device.h"
#include "tests/support/random_network.h"

namespace filterscope {
namespace {

class FirstLayerDgradTest : public test::DeviceTest {
 protected:
#if defined(FILTERSCOPE_EMULATED)
  void SetUp() override {
    test::DeviceTest::SetUp();
    bank_conflicts_ = emulation::ldmatrix_bank_conflicts();
  }
  void TearDown() override {
    EXPECT_EQ(emulation::ldmatrix_bank_conflicts(), bank_conflicts_) << "ldmatrix has bank conflicts";
    test::DeviceTest::TearDown();
  }

 private:
  long bank_conflicts_ = 0;
#endif
};
FILTERSCOPE_DEVICE_TEST_SUITE(FirstLayerDgradTest);

struct Case {
  int images;
  Extent extent;
  int channels;
  InputMapping mapping = identity_mapping();

  std::size_t positions() const { return static_cast<std::size_t>(images) * extent.positions(); }
};

struct Result {
  std::vector<float> gradients;
  std::vector<float> squares;
};

template <class T>
using Kernel = kernels::FirstLayerDgradKernel<T>;

/// Calls body(kernel) for all kernels of a type.
template <class T, class Body>
void for_each_kernel(const Body& body) {
  for (const Kernel<T>& kernel : kernels::first_layer_dgrad_kernels<T>()) {
    SCOPED_TRACE(testing::Message() << kernel.name << ", " << sizeof(T) << " bytes");
    body(kernel);
  }
}

template <class T>
Result run(const Kernel<T>& kernel, const Case& shape, const std::vector<T>& gradient,
           const std::vector<float>& weights, const std::vector<float>& factors,
           const std::vector<std::uint32_t>& mask = {}) {
  const auto device_gradient = test::upload(gradient);
  const auto device_weights = test::upload(weights);
  const auto device_factors = test::upload(factors);
  const auto device_mask = test::upload(mask);
  const auto image_gradients = test::poisoned<float>(shape.positions() * 3);
  const auto squares =
      test::poisoned<float>(shape.images * static_cast<std::size_t>(kernels::image_gradient_parts(
                                               shape.extent.height, shape.extent.width)));
  kernel.launch({.gradient = device_gradient.data(),
                 .mask = device_mask.data(),
                 .weights = device_weights.data(),
                 .map = test::to_input_map(shape.mapping),
                 .factors = device_factors.data(),
                 .image_gradients = image_gradients.data(),
                 .squares = squares.data(),
                 .images_count = shape.images,
                 .height = shape.extent.height,
                 .width = shape.extent.width,
                 .channels = shape.channels},
                nullptr);
  return {test::download(image_gradients), test::download(squares)};
}

template <class T>
std::vector<T> random_gradient(const Case& shape, std::uint64_t seed) {
  return test::round_to<T>(
      test::random_values(shape.positions() * static_cast<std::size_t>(shape.channels), seed, -1.f));
}
// One in three is active.
std::vector<std::uint32_t> random_mask(const Case& shape, std::uint64_t seed) {
  const auto values = test::random_values(shape.positions() * static_cast<std::size_t>(shape.channels), seed);
  std::vector<std::uint32_t> mask(values.size() / 32, 0);
  for (std::size_t i = 0; i < values.size(); ++i) mask[i / 32] |= std::uint32_t{values[i] < 0.33f} << i % 32;
  return mask;
}
// Sets gradients where the mask is inactive to `value`.
template <class T>
std::vector<T> with_inactive(std::vector<T> gradient, const std::vector<std::uint32_t>& mask, float value) {
  for (std::size_t i = 0; i < gradient.size(); ++i) {
    if ((mask[i / 32] >> i % 32 & 1u) == 0) gradient[i] = kernels::from_float<T>(value);
  }
  return gradient;
}
std::vector<float> random_weights(const Case& shape, std::uint64_t seed) {
  return test::random_values(static_cast<std::size_t>(shape.channels) * 27, seed, -1.f);
}

template <class T>
void check(const Kernel<T>& kernel, const Case& shape) {
  if (!kernel.supports(shape.channels)) return;
  SCOPED_TRACE(testing::Message() << testing::PrintToString(shape.extent) << ", " << shape.channels
                                  << " channels, " << shape.mapping.name);
  const std::vector<std::uint32_t> mask = random_mask(shape, 4);
  const std::vector<T> gradient = with_inactive(random_gradient<T>(shape, 1), mask, 0.f);
  const std::vector<float> weights = random_weights(shape, 2);
  const std::vector<float> factors =
      test::random_values(static_cast<std::size_t>(shape.images), 3, 0.001f, 0.01f);
  const Result actual = run(kernel, shape, gradient, weights, factors);

  const std::vector<float> filters = test::filters_last(weights, shape.channels);
  const std::vector<float> wide = test::widen(gradient);
  const std::size_t image_size = wide.size() / shape.images;
  std::vector<double> expected;
  std::vector<double> magnitudes;
  for (int i = 0; i < shape.images; ++i) {
    const reference::Map map(shape.extent, shape.channels,
                             std::span(wide).subspan(i * image_size, image_size));
    const reference::Map image_gradient =
        reference::mapping_gradient(shape.mapping, reference::convolve_input_gradient(map, filters, 3));
    const reference::Map magnitude = reference::mapping_gradient(
        test::magnitudes(shape.mapping),
        reference::convolve_input_gradient(test::magnitudes(map), test::magnitudes(filters), 3));
    for (const double value : image_gradient.values) expected.push_back(value * double{factors[i]});
    for (const double value : magnitude.values) magnitudes.push_back(value * double{factors[i]});
  }
  // The products of nine taps, then the map and the factor. Tensor cores add 17 terms at a time and truncate
  // each at 2^-23 of the sum; the split loses 2^-22 of a weight.
  const int terms = kernel.name == "direct" ? 9 * shape.channels + 5 : 4 * 17 * 2 + 4 + 2 + 9 + 5;
  test::expect_sums<float>(actual.gradients, expected, magnitudes, terms);
  test::expect_squares(actual.squares, actual.gradients, shape.images, shape.extent);

  // The kernel applies the mask: inactive elements may have any value.
  const std::vector<T> unmasked = with_inactive(gradient, mask, std::numeric_limits<float>::quiet_NaN());
  const Result masked = run(kernel, shape, unmasked, weights, factors, mask);
  EXPECT_EQ(masked.gradients, actual.gradients);
  EXPECT_EQ(masked.squares, actual.squares);
}

template <class T>
void check_all() {
  for_each_kernel<T>([](const Kernel<T>& kernel) {
    for (const Extent extent : {Extent{1, 1}, Extent{2, 3}, Extent{15, 17}}) check(kernel, {2, extent, 64});
    check(kernel, {1, {16, 16}, 64});  // One whole tile of squares,
    check(kernel, {1, {33, 35}, 64});  // more than two in each direction,
    check(kernel, {1, {1, 70}, 64});   // and in one direction only.
    check(kernel, {1, {70, 1}, 64});
    for (const InputMapping& mapping : test::mappings()) {
      check(kernel, {2, {3, 5}, 64, mapping});
      check(kernel, {1, {3, 5}, 128, mapping});
    }
  });
}

TEST_P(FirstLayerDgradTest, MatchesReferenceInFloat) {
  check_all<float>();
}
TEST_P(FirstLayerDgradTest, MatchesReferenceInHalf) {
  check_all<kernels::Half>();
}
TEST_P(FirstLayerDgradTest, MatchesReferenceInBfloat16) {
  check_all<kernels::Bfloat16>();
}

// A single active position shows the error of each weight: at most `loss` of itself plus `smallest` of the
// largest.
template <class T>
void check_impulse(const Kernel<T>& kernel, float factor, double loss, double smallest) {
  SCOPED_TRACE(factor);
  const Case shape{1, {7, 35}, 64};
  std::vector<float> weights = random_weights(shape, 8);
  for (std::size_t i = 0; i < weights.size(); ++i) weights[i] *= factor * (i % 5 == 0 ? 0x1p-20f : 0x1p-4f);
  weights[37 * 27 + 13] = -factor;
  double largest = 0;
  for (const float weight : weights) largest = std::max(largest, std::abs(double{weight}));
  for (const auto& [y, x, channel] : {std::array{0, 0, 0}, std::array{3, 31, 37}, std::array{6, 34, 63}}) {
    std::vector<T> gradient(shape.positions() * 64, kernels::from_float<T>(0.f));
    const int at = (y * shape.extent.width + x) * 64 + channel;
    gradient[at] = kernels::from_float<T>(1.f);
    std::vector<std::uint32_t> mask(gradient.size() / 32, 0);
    mask[at / 32] = 1u << at % 32;
    std::vector<float> expected(shape.positions() * 3, 0.f);
    for (int tap = 0; tap < 9; ++tap) {
      const int to_y = y + tap / 3 - 1;
      const int to_x = x + tap % 3 - 1;
      if (to_y < 0 || to_y >= shape.extent.height || to_x < 0 || to_x >= shape.extent.width) continue;
      for (int c = 0; c < 3; ++c) {
        expected[(to_y * shape.extent.width + to_x) * 3 + c] = weights[(channel * 9 + tap) * 3 + c];
      }
    }
    for (const Result& actual :
         {run(kernel, shape, gradient, weights, {1.f}), run(kernel, shape, gradient, weights, {1.f}, mask)}) {
      for (std::size_t i = 0; i < expected.size(); ++i) {
        EXPECT_NEAR(actual.gradients[i], expected[i], loss * std::abs(expected[i]) + smallest * largest) << i;
      }
    }
  }
}

TEST_P(FirstLayerDgradTest, GradientOfOnePositionIsTheFilter) {
  for (const float factor : {1.f, 0x1p-30f, 0x1p30f}) {
    for_each_kernel<float>([&](const auto& kernel) { check_impulse(kernel, factor, 0, 0); });
    for_each_kernel<kernels::Half>([&](const auto& kernel) {
      const bool exact = kernel.name == "direct";
      check_impulse(kernel, factor, exact ? 0 : 0x1p-22, exact ? 0 : 0x1p-39);
    });
    for_each_kernel<kernels::Bfloat16>([&](const auto& kernel) { check_impulse(kernel, factor, 0, 0); });
  }
}

// A NaN gradient shows in the outputs that depend on it; for all others it counts as zero.
template <class T>
void check_nan() {
  const Case shape{1, {5, 18}, 64};
  const std::size_t position = 2 * 18 + 15;
  const std::vector<float> weights = random_weights(shape, 9);
  auto gradient = random_gradient<T>(shape, 10);
  for_each_kernel<T>([&](const Kernel<T>& kernel) {
    gradient[position * 64 + 5] = kernels::from_float<T>(0.f);
    const Result with_zero = run(kernel, shape, gradient, weights, {0.5f});
    gradient[position * 64 + 5] = kernels::from_float<T>(std::numeric_limits<float>::quiet_NaN());
    const Result actual = run(kernel, shape, gradient, weights, {0.5f});
    for (std::size_t i = 0; i < actual.gradients.size(); ++i) {
      const std::size_t y = i / 3 / 18;
      const std::size_t x = i / 3 % 18;
      if (y >= 1 && y <= 3 && x >= 14 && x <= 16) {
        EXPECT_TRUE(std::isnan(actual.gradients[i])) << i;
      } else {
        EXPECT_EQ(actual.gradients[i], with_zero.gradients[i]) << i;
      }
    }
    for (const float square : actual.squares) EXPECT_TRUE(std::isnan(square));
  });
}

TEST_P(FirstLayerDgradTest, KeepsNaN) {
  check_nan<float>();
  check_nan<kernels::Half>();
  check_nan<kernels::Bfloat16>();
}

template <class T>
void check_dead() {
  const Case shape{1, {5, 18}, 64, keras_mapping()};
  const std::vector<T> gradient(shape.positions() * 64, kernels::from_float<T>(0.f));
  for_each_kernel<T>([&](const Kernel<T>& kernel) {
    const Result actual = run(kernel, shape, gradient, random_weights(shape, 4), {0.5f});
    for (const float value : actual.gradients) EXPECT_EQ(value, 0.f);
    for (const float square : actual.squares) EXPECT_EQ(square, 0.f);
  });
}

TEST_P(FirstLayerDgradTest, GradientOfADeadFilterIsExactlyZero) {
  check_dead<float>();
  check_dead<kernels::Half>();
  check_dead<kernels::Bfloat16>();
}

template <class T>
void check_batch() {
  const Case one{1, {5, 18}, 64, torchvision_mapping()};
  const Case three{3, {5, 18}, 64, torchvision_mapping()};
  const std::vector<float> weights = random_weights(one, 5);
  const auto gradient = random_gradient<T>(one, 6);
  auto gradients = random_gradient<T>(three, 7);
  std::ranges::copy(gradient, gradients.end() - static_cast<std::ptrdiff_t>(gradient.size()));
  for_each_kernel<T>([&](const Kernel<T>& kernel) {
    const Result alone = run(kernel, one, gradient, weights, {0.3f});
    const Result last = run(kernel, three, gradients, weights, {0.1f, 0.2f, 0.3f});
    EXPECT_TRUE(std::ranges::equal(alone.gradients, std::span(last.gradients).last(alone.gradients.size())));
    EXPECT_TRUE(std::ranges::equal(alone.squares, std::span(last.squares).last(alone.squares.size())));
  });
}

TEST_P(FirstLayerDgradTest, DoesNotDependOnTheBatch) {
  check_batch<float>();
  check_batch<kernels::Half>();
  check_batch<kernels::Bfloat16>();
}

}  // namespace
}  // namespace filterscope
