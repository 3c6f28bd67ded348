// All convolution kernels on the same cases.
#include "kernels/convolution/convolution.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "convolution_check.h"

namespace filterscope {
namespace {

using kernels::Bfloat16;
using kernels::ConvolutionKernel;
using kernels::Half;
using test::check_convolution;
using test::check_dgrad;
using test::ConvolutionCase;
using test::ConvolutionOptions;

class ConvolutionTest : public test::DeviceTest {};
FILTERSCOPE_DEVICE_TEST_SUITE(ConvolutionTest);

constexpr ConvolutionOptions kFprop{.bias = true, .mask_out = true};
constexpr ConvolutionOptions kDgrad{.mask_in = true};

// Positions without neighbours; several images in a tile; tiles that begin and end within an image; one and
// several filter tiles of both sizes.
const std::vector<ConvolutionCase> kShapes{{1, 1, 1, 64, 64},   {3, 2, 1, 32, 32},   {4, 5, 7, 32, 64},
                                           {2, 13, 11, 64, 64}, {2, 3, 67, 64, 128}, {3, 6, 6, 96, 96},
                                           {1, 9, 5, 128, 192}, {3, 9, 7, 64, 128}};

kernels::ConvolutionShape shape_of(const ConvolutionCase& shape) {
  return {shape.height, shape.width, shape.in_channels, shape.out_channels};
}

template <class T, class Check>
void for_each_kernel(const Check& check) {
  for (const ConvolutionKernel<T>& kernel : kernels::convolution_kernels<T>()) {
    SCOPED_TRACE(kernel.name);
    check(kernel);
  }
}
// Runs the kernels that support these numbers of channels.
template <class T, class Check>
void for_each_kernel(const ConvolutionCase& shape, const Check& check) {
  for_each_kernel<T>([&](const ConvolutionKernel<T>& kernel) {
    if (kernel.supports(shape_of(shape))) check(kernel);
  });
}

template <class T>
void check_all() {
  for_each_kernel<T>([](const ConvolutionKernel<T>& kernel) {
    int checked = 0;
    for (const ConvolutionCase& shape : kShapes) {
      if (!kernel.supports(shape_of(shape))) continue;
      ++checked;
      check_convolution<T>(kernel.launch, shape, kFprop);
      check_dgrad<T>(kernel.launch, shape, kDgrad);
    }
    EXPECT_GE(checked, 2);
    check_convolution<T>(kernel.launch, {2, 5, 13, 64, 128}, {});
    check_convolution<T>(kernel.launch, {2, 5, 13, 64, 128},
                         {.bias = true, .mask_out = true, .mask_in = true});
  });
}

TEST_P(ConvolutionTest, MatchesReference) {
  check_all<float>();
  check_all<Half>();
  check_all<Bfloat16>();
}

// Beyond any tolerance: a sum of exactly zero is inactive, and so is one that rounds to zero in T.
template <class T>
void check_zeros() {
  const ConvolutionCase shape{1, 3, 3, 64, 64};
  std::vector<float> bias(shape.out_channels, 0.f);
  bias[1] = 1.f;
  bias[2] = -0x1p-12f;
  bias[33] = 0x1p-30f;  // Zero only in Half.
  for_each_kernel<T>(shape, [&](const ConvolutionKernel<T>& kernel) {
    const test::ConvolutionRun run = test::run_convolution<T>(
        kernel.launch, shape, kFprop, std::vector<float>(shape.positions() * shape.in_channels),
        std::vector<float>(std::size_t{9} * shape.in_channels * shape.out_channels, 1.f), bias);
    for (std::size_t position = 0; position < shape.positions(); ++position) {
      for (int filter = 0; filter < shape.out_channels; ++filter) {
        const float expected = kernels::to_float(kernels::from_float<T>(std::max(bias[filter], 0.f)));
        EXPECT_EQ(run.output[position * shape.out_channels + filter], expected);
      }
      EXPECT_EQ(run.mask_out[2 * position], 2u);
      EXPECT_EQ(run.mask_out[2 * position + 1], (std::is_same_v<T, Half>) ? 0u : 2u);
    }
  });
}

TEST_P(ConvolutionTest, ExactlyZeroIsInactive) {
  check_zeros<float>();
  check_zeros<Half>();
  check_zeros<Bfloat16>();
}

template <class T>
void check_places() {
  // 35 positions per image: tiles cut images anywhere.
  const ConvolutionCase one{1, 5, 7, 64, 64};
  const ConvolutionCase many{9, 5, 7, 64, 64};
  const std::vector<float> image = test::random_values(one.positions() * one.in_channels, 6, -1.f);
  const std::vector<float> weights = test::random_values(std::size_t{9} * 64 * 64, 7, -1.f);
  const std::vector<float> bias = test::random_values(64, 8, -1.f);
  std::vector<float> images;
  for (int i = 0; i < many.images; ++i) images.insert(images.end(), image.begin(), image.end());
  for_each_kernel<T>(one, [&](const ConvolutionKernel<T>& kernel) {
    const std::vector<float> alone =
        test::run_convolution<T>(kernel.launch, one, kFprop, image, weights, bias).output;
    const std::vector<float> together =
        test::run_convolution<T>(kernel.launch, many, kFprop, images, weights, bias).output;
    for (int i = 0; i < many.images; ++i) {
      EXPECT_TRUE(std::ranges::equal(std::span(together).subspan(i * alone.size(), alone.size()), alone))
          << "image " << i;
    }
  });
}

TEST_P(ConvolutionTest, DoesNotDependOnTheBatch) {
  check_places<float>();
  check_places<Half>();
  check_places<Bfloat16>();
}

// A value that is not finite must reach the loss, where it is detected, rather than end at an inactive ReLU.
template <class T>
void check_not_a_number() {
  const ConvolutionCase shape{1, 1, 1, 64, 64};
  std::vector<float> input(shape.positions() * shape.in_channels, 1.f);
  input[5] = std::numeric_limits<float>::quiet_NaN();
  for_each_kernel<T>(shape, [&](const ConvolutionKernel<T>& kernel) {
    const test::ConvolutionRun run = test::run_convolution<T>(
        kernel.launch, shape, kFprop, input,
        std::vector<float>(std::size_t{9} * shape.in_channels * shape.out_channels, 1.f),
        std::vector<float>(shape.out_channels, 0.f));
    for (const float value : run.output) EXPECT_TRUE(std::isnan(value));
  });
}

TEST_P(ConvolutionTest, KeepsNaN) {
  check_not_a_number<float>();
  check_not_a_number<Half>();
  check_not_a_number<Bfloat16>();
}

}  // namespace
}  // namespace filterscope
