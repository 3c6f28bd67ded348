#include <gtest/gtest.h>

#include <limits>

#include "kernels/image_gradient.h"
#include "network_ends.h"
#include "tests/support/device.h"
#include "tests/support/random_network.h"
#include "tolerance.h"

namespace filterscope {
namespace {

class LastGradientTest : public test::DeviceTest {};
FILTERSCOPE_DEVICE_TEST_SUITE(LastGradientTest);

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
Result run(const Case& shape, const std::vector<T>& gradient, const std::vector<float>& weights,
           const std::vector<float>& factors, const std::vector<std::uint32_t>& gate = {}) {
  const auto device_gradient = test::upload(gradient);
  const auto device_weights = test::upload(weights);
  const auto device_factors = test::upload(factors);
  const auto device_gate = test::upload(gate);
  const auto image_gradients = test::poisoned<float>(shape.positions() * 3);
  const auto squares =
      test::poisoned<float>(shape.images * static_cast<std::size_t>(kernels::image_gradient_parts(
                                               shape.extent.height, shape.extent.width)));
  kernels::last_gradient<T>({.gradient = device_gradient.data(),
                             .gate = device_gate.data(),
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
// One in three is open.
std::vector<std::uint32_t> random_gate(const Case& shape, std::uint64_t seed) {
  const auto values = test::random_values(shape.positions() * static_cast<std::size_t>(shape.channels), seed);
  std::vector<std::uint32_t> gate(values.size() / 32, 0);
  for (std::size_t i = 0; i < values.size(); ++i) gate[i / 32] |= std::uint32_t{values[i] < 0.33f} << i % 32;
  return gate;
}
// Gradients whose gate is closed become `value`.
template <class T>
std::vector<T> with_closed(std::vector<T> gradient, const std::vector<std::uint32_t>& gate, float value) {
  for (std::size_t i = 0; i < gradient.size(); ++i) {
    if ((gate[i / 32] >> i % 32 & 1u) == 0) gradient[i] = kernels::from_float<T>(value);
  }
  return gradient;
}
std::vector<float> random_weights(const Case& shape, std::uint64_t seed) {
  return test::random_values(static_cast<std::size_t>(shape.channels) * 27, seed, -1.f);
}

template <class T>
void check(const Case& shape) {
  SCOPED_TRACE(testing::Message() << testing::PrintToString(shape.extent) << ", " << shape.channels
                                  << " channels, " << shape.mapping.name << ", " << sizeof(T) << " bytes");
  const std::vector<std::uint32_t> gate = random_gate(shape, 4);
  const std::vector<T> gradient = with_closed(random_gradient<T>(shape, 1), gate, 0.f);
  const std::vector<float> weights = random_weights(shape, 2);
  const std::vector<float> factors =
      test::random_values(static_cast<std::size_t>(shape.images), 3, 0.001f, 0.01f);
  const Result actual = run<T>(shape, gradient, weights, factors);

  const std::vector<float> kernel = test::filters_last(weights, shape.channels);
  const std::vector<float> wide = test::widen(gradient);
  const std::size_t image_size = wide.size() / shape.images;
  std::vector<double> expected;
  std::vector<double> magnitudes;
  for (int i = 0; i < shape.images; ++i) {
    const reference::Map map(shape.extent, shape.channels,
                             std::span(wide).subspan(i * image_size, image_size));
    const reference::Map image_gradient =
        reference::mapping_gradient(shape.mapping, reference::convolve_input_gradient(map, kernel, 3));
    const reference::Map magnitude = reference::mapping_gradient(
        test::magnitudes(shape.mapping),
        reference::convolve_input_gradient(test::magnitudes(map), test::magnitudes(kernel), 3));
    for (const double value : image_gradient.values) expected.push_back(value * double{factors[i]});
    for (const double value : magnitude.values) magnitudes.push_back(value * double{factors[i]});
  }
  // The products of nine taps, then the map and the factor.
  test::expect_sums<float>(actual.gradients, expected, magnitudes, 9 * shape.channels + 5);
  test::expect_squares(actual.squares, actual.gradients, shape.images, shape.extent);

  // Gated by the kernel: what does not pass may be anything.
  const std::vector<T> ungated = with_closed(gradient, gate, std::numeric_limits<float>::quiet_NaN());
  const Result gated = run<T>(shape, ungated, weights, factors, gate);
  EXPECT_EQ(gated.gradients, actual.gradients);
  EXPECT_EQ(gated.squares, actual.squares);
}

template <class T>
void check_all() {
  for (const Extent extent : {Extent{1, 1}, Extent{2, 3}, Extent{15, 17}}) check<T>({2, extent, 64});
  check<T>({1, {16, 16}, 64});  // One whole tile,
  check<T>({1, {33, 35}, 64});  // and more than two each way.
  for (const InputMapping& mapping : test::mappings()) check<T>({2, {3, 5}, 128, mapping});
}

TEST_P(LastGradientTest, IsTheReferenceInFloat) {
  check_all<float>();
}
TEST_P(LastGradientTest, IsTheReferenceInHalf) {
  check_all<kernels::Half>();
}
TEST_P(LastGradientTest, IsTheReferenceInBfloat16) {
  check_all<kernels::Bfloat16>();
}

TEST_P(LastGradientTest, OfADeadFilterIsExactlyZero) {
  const Case shape{1, {5, 18}, 64, keras_mapping()};
  const std::vector<kernels::Half> gradient(shape.positions() * 64, kernels::from_float<kernels::Half>(0.f));
  const Result actual = run<kernels::Half>(shape, gradient, random_weights(shape, 4), {0.5f});
  for (const float value : actual.gradients) EXPECT_EQ(value, 0.f);
  for (const float square : actual.squares) EXPECT_EQ(square, 0.f);
}

TEST_P(LastGradientTest, DoesNotDependOnTheBatch) {
  const Case one{1, {5, 18}, 64, torchvision_mapping()};
  const Case three{3, {5, 18}, 64, torchvision_mapping()};
  const std::vector<float> weights = random_weights(one, 5);
  const auto gradient = random_gradient<kernels::Half>(one, 6);
  auto gradients = random_gradient<kernels::Half>(three, 7);
  std::ranges::copy(gradient, gradients.end() - static_cast<std::ptrdiff_t>(gradient.size()));
  const Result alone = run<kernels::Half>(one, gradient, weights, {0.3f});
  const Result last = run<kernels::Half>(three, gradients, weights, {0.1f, 0.2f, 0.3f});
  EXPECT_TRUE(std::ranges::equal(alone.gradients, std::span(last.gradients).last(alone.gradients.size())));
  EXPECT_TRUE(std::ranges::equal(alone.squares, std::span(last.squares).last(alone.squares.size())));
}

}  // namespace
}  // namespace filterscope
