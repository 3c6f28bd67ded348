#include "kernels/pool/max_pool.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "tests/support/device.h"
#include "tests/support/random_network.h"
#include "tests/support/reference.h"

namespace filterscope {
namespace {

class MaxPoolTest : public test::DeviceTest {};
FILTERSCOPE_DEVICE_TEST_SUITE(MaxPoolTest);

struct Shape {
  int images;
  Extent extent;
  int channels;
};

// Even and odd edges; maps without a whole window; several blocks per row of windows.
const std::vector<Shape> kShapes{{3, {4, 6}, 64}, {2, {7, 5}, 32}, {2, {5, 4}, 96}, {3, {2, 2}, 32},
                                 {1, {1, 5}, 32}, {2, {4, 1}, 64}, {2, {3, 52}, 96}};

// Nothing is rounded: every output is one of the inputs, and every gradient is passed on or zero.
template <class T>
void check(const Shape& shape) {
  SCOPED_TRACE(testing::Message() << shape.images << " images " << testing::PrintToString(shape.extent)
                                  << " of " << shape.channels << " channels");
  const Extent pooled{shape.extent.height / 2, shape.extent.width / 2};
  const std::size_t in_size = static_cast<std::size_t>(shape.extent.positions()) * shape.channels;
  const std::size_t out_size = static_cast<std::size_t>(pooled.positions()) * shape.channels;
  // Few distinct values, so that there are ties within windows, many exact zeros, and windows of zeros only.
  std::vector<float> inputs = test::random_values(in_size * shape.images, 1, -2.f, 1.f);
  for (float& value : inputs) value = value > 0.f ? std::ceil(value * 4.f) / 4.f : 0.f;
  const std::vector<float> gradients =
      test::widen(test::round_to<T>(test::random_values(out_size * shape.images, 2, -1.f, 1.f)));

  const auto input = test::upload(test::round_to<T>(inputs));
  const auto output_gradient = test::upload(test::round_to<T>(gradients));
  const auto output = test::poisoned<T>(out_size * shape.images);
  const auto plain_output = test::poisoned<T>(out_size * shape.images);
  const auto argmax = test::poisoned<std::uint32_t>(out_size * shape.images / 16);
  const auto active = test::poisoned<std::uint32_t>(out_size * shape.images / 32);
  const auto input_gradient = test::poisoned<T>(in_size * shape.images);
  kernels::MaxPoolArguments<T> forward{.input = input.data(),
                                       .output = output.data(),
                                       .argmax = argmax.data(),
                                       .active = active.data(),
                                       .images_count = shape.images,
                                       .height = shape.extent.height,
                                       .width = shape.extent.width,
                                       .channels = shape.channels};
  kernels::max_pool(forward, nullptr);
  kernels::max_pool_gradient<T>({.output_gradient = output_gradient.data(),
                                 .argmax = argmax.data(),
                                 .active = active.data(),
                                 .input_gradient = input_gradient.data(),
                                 .images_count = shape.images,
                                 .height = shape.extent.height,
                                 .width = shape.extent.width,
                                 .channels = shape.channels},
                                nullptr);
  forward.output = plain_output.data();
  forward.argmax = nullptr;
  forward.active = nullptr;
  kernels::max_pool(forward, nullptr);

  std::vector<float> expected_output;
  std::vector<float> expected_gradient;
  for (int image = 0; image < shape.images; ++image) {
    const reference::Map map(shape.extent, shape.channels,
                             std::span(inputs).subspan(image * in_size, in_size));
    const reference::Map gradient(pooled, shape.channels,
                                  std::span(gradients).subspan(image * out_size, out_size));
    const std::vector<float> maxima = reference::to_float(reference::max_pool(map));
    expected_output.insert(expected_output.end(), maxima.begin(), maxima.end());
    const std::vector<float> passed =
        reference::to_float(reference::relu_gradient(reference::max_pool_gradient(gradient, map), map));
    expected_gradient.insert(expected_gradient.end(), passed.begin(), passed.end());
  }
  EXPECT_EQ(test::widen(test::download(output)), expected_output);
  EXPECT_EQ(test::widen(test::download(plain_output)), expected_output);
  EXPECT_EQ(test::widen(test::download(input_gradient)), expected_gradient);
}

TEST_P(MaxPoolTest, MatchesReference) {
  for (const Shape& shape : kShapes) {
    check<float>(shape);
    check<kernels::Half>(shape);
    check<kernels::Bfloat16>(shape);
  }
}

TEST_P(MaxPoolTest, KeepsTwoBitsOfArgmaxAndOneOfTheRelu) {
  // Channel c of a single window: its first maximum at c % 4, or all zero for every fifth channel.
  constexpr int kChannels = 64;
  std::vector<float> window(4 * kChannels, 0.f);
  std::vector<std::uint32_t> expected_argmax(kChannels / 16);
  std::vector<std::uint32_t> expected_active(kChannels / 32);
  for (int c = 0; c < kChannels; ++c) {
    if (c % 5 == 0) continue;
    for (int i = c % 4; i < 4; ++i) window[i * kChannels + c] = 1.f;
    expected_argmax[c / 16] |= static_cast<std::uint32_t>(c % 4) << c % 16 * 2;
    expected_active[c / 32] |= 1u << c % 32;
  }
  const auto input = test::upload(test::round_to<kernels::Half>(window));
  const auto output = test::poisoned<kernels::Half>(kChannels);
  const auto argmax = test::poisoned<std::uint32_t>(kChannels / 16);
  const auto active = test::poisoned<std::uint32_t>(kChannels / 32);
  kernels::max_pool<kernels::Half>({.input = input.data(),
                                    .output = output.data(),
                                    .argmax = argmax.data(),
                                    .active = active.data(),
                                    .images_count = 1,
                                    .height = 2,
                                    .width = 2,
                                    .channels = kChannels},
                                   nullptr);
  EXPECT_EQ(test::download(argmax), expected_argmax);
  EXPECT_EQ(test::download(active), expected_active);
}

// Otherwise a NaN would be lost in a layer and the ascent would continue towards a meaningless picture.
TEST_P(MaxPoolTest, KeepsNaN) {
  constexpr int kChannels = 32;
  std::vector<float> window(4 * kChannels, 1.f);
  for (int c = 0; c < kChannels; c += 2) window[c / 2 % 4 * kChannels + c] = std::nanf("");
  const auto input = test::upload(test::round_to<kernels::Half>(window));
  const auto output = test::poisoned<kernels::Half>(kChannels);
  kernels::max_pool<kernels::Half>({.input = input.data(),
                                    .output = output.data(),
                                    .argmax = nullptr,
                                    .active = nullptr,
                                    .images_count = 1,
                                    .height = 2,
                                    .width = 2,
                                    .channels = kChannels},
                                   nullptr);
  const std::vector<float> got = test::widen(test::download(output));
  for (int c = 0; c < kChannels; ++c) {
    EXPECT_EQ(std::isnan(got[c]), c % 2 == 0) << c;
  }
}

}  // namespace
}  // namespace filterscope
