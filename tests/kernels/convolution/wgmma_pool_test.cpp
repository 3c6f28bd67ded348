#include <gtest/gtest.h>

#include <cmath>
#include <cstddef>
#include <vector>

#include "kernels/pool/max_pool.h"
#include "wgmma_fixture.h"

namespace filterscope {
namespace {

using test::ConvolutionCase;
using test::ConvolutionWgmmaTest;

// A kernel with a fused pool gives the same bits as convolution_wgmma followed, or preceded, by the pool's
// own kernel, since the sums are the same.

std::vector<float> small_integers(std::size_t count, std::uint64_t seed) {
  std::vector<float> values = test::random_values(count, seed, -1.5f, 1.5f);
  for (float& value : values) value = std::round(value);
  return values;
}

template <class T>
void check_output_pool(const kernels::ConvolutionKernel<T>& kernel, const ConvolutionCase& shape) {
  SCOPED_TRACE(testing::Message() << kernel.name << " " << shape.images << "x" << shape.height << "x"
                                  << shape.width << ", " << shape.in_channels << " -> "
                                  << shape.out_channels);
  ASSERT_TRUE(kernel.supports(
      {shape.height, shape.width, shape.in_channels, shape.out_channels, kernels::FusedPool::output}));
  const std::size_t outputs = shape.positions() * shape.out_channels;
  // Few distinct sums, so that many elements of a window are equal, at zero and above.
  const auto input =
      test::upload(test::round_to<T>(small_integers(shape.positions() * shape.in_channels, 1)));
  const auto weights = test::upload(
      test::round_to<T>(small_integers(std::size_t{9} * shape.in_channels * shape.out_channels, 2)));
  const auto bias = test::upload(small_integers(shape.out_channels, 3));
  const auto map = test::poisoned<T>(outputs);
  kernels::ConvolutionArguments<T> arguments{.input = input.data(),
                                             .weights = weights.data(),
                                             .bias = bias.data(),
                                             .output = map.data(),
                                             .mask_out = nullptr,
                                             .mask_in = nullptr,
                                             .images_count = shape.images,
                                             .height = shape.height,
                                             .width = shape.width,
                                             .in_channels = shape.in_channels,
                                             .out_channels = shape.out_channels};
  kernels::convolution_wgmma<T>(arguments, nullptr);
  struct Pooled {
    decltype(test::poisoned<T>(0)) output;
    decltype(test::poisoned<std::uint32_t>(0)) argmax;
    decltype(test::poisoned<std::uint32_t>(0)) active;
  };
  const auto pooled = [&] {
    return Pooled{test::poisoned<T>(outputs / 4), test::poisoned<std::uint32_t>(outputs / 4 / 16),
                  test::poisoned<std::uint32_t>(outputs / 4 / 32)};
  };
  const Pooled expected = pooled();
  kernels::max_pool<T>({.input = map.data(),
                        .output = expected.output.data(),
                        .argmax = expected.argmax.data(),
                        .active = expected.active.data(),
                        .images_count = shape.images,
                        .height = shape.height,
                        .width = shape.width,
                        .channels = shape.out_channels},
                       nullptr);
  const Pooled got = pooled();
  arguments.output = got.output.data();
  arguments.output_pool = {got.argmax.data(), got.active.data()};
  kernel.launch(arguments, nullptr);
  EXPECT_EQ(test::widen(test::download(got.output)), test::widen(test::download(expected.output)));
  EXPECT_EQ(test::download(got.argmax), test::download(expected.argmax));
  EXPECT_EQ(test::download(got.active), test::download(expected.active));
}

template <class T>
void check_input_pool(const kernels::ConvolutionKernel<T>& kernel, const ConvolutionCase& shape,
                      bool masked) {
  SCOPED_TRACE(testing::Message() << kernel.name << " gradient " << shape.images << "x" << shape.height << "x"
                                  << shape.width << ", " << shape.in_channels << " -> "
                                  << shape.out_channels);
  ASSERT_TRUE(kernel.supports(
      {shape.height, shape.width, shape.in_channels, shape.out_channels, kernels::FusedPool::input}));
  const std::size_t inputs = shape.positions() * shape.in_channels;
  const std::size_t outputs = shape.positions() * shape.out_channels;
  const auto words = [](std::size_t count, std::uint64_t seed) {
    std::vector<std::uint32_t> result(count);
    for (std::size_t i = 0; i < count; ++i)
      result[i] = static_cast<std::uint32_t>((i + seed) * 0x9e3779b97f4a7c15u >> 32);
    return result;
  };
  const auto gradient = test::upload(test::round_to<T>(test::random_values(inputs / 4, 4, -1.f)));
  const auto argmax = test::upload(words(inputs / 4 / 16, 5));
  const auto active = test::upload(words(inputs / 4 / 32, 6));
  const auto mask_in = test::upload(words(outputs / 32, 7));
  const auto weights = test::upload(test::round_to<T>(
      test::random_values(std::size_t{9} * shape.in_channels * shape.out_channels, 8, -1.f)));
  const auto map = test::poisoned<T>(inputs);
  kernels::max_pool_gradient<T>({.output_gradient = gradient.data(),
                                 .argmax = argmax.data(),
                                 .active = active.data(),
                                 .input_gradient = map.data(),
                                 .images_count = shape.images,
                                 .height = shape.height,
                                 .width = shape.width,
                                 .channels = shape.in_channels},
                                nullptr);
  const auto expected = test::poisoned<T>(outputs);
  const auto got = test::poisoned<T>(outputs);
  kernels::ConvolutionArguments<T> arguments{.input = map.data(),
                                             .weights = weights.data(),
                                             .bias = nullptr,
                                             .output = expected.data(),
                                             .mask_out = nullptr,
                                             .mask_in = masked ? mask_in.data() : nullptr,
                                             .images_count = shape.images,
                                             .height = shape.height,
                                             .width = shape.width,
                                             .in_channels = shape.in_channels,
                                             .out_channels = shape.out_channels};
  kernels::convolution_wgmma<T>(arguments, nullptr);
  arguments.input = gradient.data();
  arguments.input_pool = {argmax.data(), active.data()};
  arguments.output = got.data();
  kernel.launch(arguments, nullptr);
  EXPECT_EQ(test::widen(test::download(got)), test::widen(test::download(expected)));
}

// Parts of a tile, down to a single window; several tiles per block, with windows of two rows and of two
// images in one tile; resident and reloaded weights; widths that are and are not multiples of eight.
const std::vector<ConvolutionCase> kPooledCases{{1, 2, 2, 64, 64},   {3, 4, 6, 64, 128},  {2, 6, 32, 64, 64},
                                                {5, 8, 16, 64, 64},  {7, 12, 12, 64, 64}, {3, 6, 24, 128, 64},
                                                {9, 6, 6, 128, 256}, {1, 4, 48, 128, 128}};

const std::vector<ConvolutionCase> kPooledCasesOfLargeTiles{
    {1, 2, 2, 64, 64}, {3, 4, 6, 128, 64}, {2, 6, 32, 64, 192}, {7, 8, 16, 64, 64}, {3, 6, 24, 192, 64}};

TEST_P(ConvolutionWgmmaTest, PoolsItsOutput) {
  using kernels::Half;
  for (const ConvolutionCase& shape : kPooledCases) check_output_pool(test::wgmma<Half>(), shape);
  check_output_pool(test::wgmma<kernels::Bfloat16>(), kPooledCases[1]);
  for (const ConvolutionCase& shape : kPooledCasesOfLargeTiles)
    check_output_pool(test::wgmma_large<Half>(), shape);
}

TEST_P(ConvolutionWgmmaTest, UnpoolsItsInput) {
  using kernels::Half;
  for (const ConvolutionCase& shape : kPooledCases) check_input_pool(test::wgmma<Half>(), shape, true);
  check_input_pool(test::wgmma<kernels::Bfloat16>(), kPooledCases[1], false);
  for (const ConvolutionCase& shape : kPooledCasesOfLargeTiles)
    check_input_pool(test::wgmma_large<Half>(), shape, true);
}

// Widths of the network: a tile covers parts of two rows of windows, a large tile two whole rows.
TEST_P(ConvolutionWgmmaTest, PoolsWideMaps) {
  for (const auto& kernel : {test::wgmma<kernels::Half>(), test::wgmma_large<kernels::Half>()}) {
    check_output_pool(kernel, {1, 8, 96, 64, 64});
    check_input_pool(kernel, {1, 6, 96, 64, 64}, false);
  }
}

TEST_P(ConvolutionWgmmaTest, SupportsPoolsOfEvenSizeOnly) {
  for (const kernels::FusedPool pool : {kernels::FusedPool::output, kernels::FusedPool::input}) {
    EXPECT_TRUE(kernels::convolution_wgmma_takes({96, 96, 64, 64, pool}));
    EXPECT_FALSE(kernels::convolution_wgmma_takes({95, 96, 64, 64, pool}));
    EXPECT_FALSE(kernels::convolution_wgmma_takes({96, 95, 64, 64, pool}));
  }
}

}  // namespace
}  // namespace filterscope
