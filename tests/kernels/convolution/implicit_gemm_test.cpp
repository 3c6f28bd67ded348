#include <gtest/gtest.h>

#include "convolution_check.h"

namespace filterscope {
namespace {

using test::check_convolution;
using test::check_dgrad;
using test::ConvolutionOptions;

class ConvolutionImplicitGemmTest : public test::DeviceTest {
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
FILTERSCOPE_DEVICE_TEST_SUITE(ConvolutionImplicitGemmTest);

constexpr ConvolutionOptions kFprop{.bias = true, .mask_out = true};
constexpr ConvolutionOptions kDgrad{.mask_in = true};

template <class T>
void check_cases() {
  const test::ConvolutionLaunch<T> launch = kernels::convolution_implicit_gemm<T>;
  // One image that fills part of a tile, down to a single position without neighbours.
  check_convolution<T>(launch, {1, 1, 1, 64, 64}, kFprop);
  check_convolution<T>(launch, {2, 2, 3, 64, 128}, kFprop);
  check_convolution<T>(launch, {1, 2, 3, 192, 64}, kFprop);
  // Tiles with the end of one image and the start of the next; a partial last tile.
  check_convolution<T>(launch, {5, 7, 9, 64, 64}, kFprop);
  check_convolution<T>(launch, {3, 13, 5, 64, 256}, kFprop);
  check_convolution<T>(launch, {3, 7, 9, 128, 64}, {.bias = true});
  // Options.
  check_convolution<T>(launch, {2, 5, 13, 64, 128}, {});
  check_convolution<T>(launch, {1, 5, 13, 64, 192}, {.mask_out = true, .mask_in = true});
  check_convolution<T>(launch, {1, 5, 13, 64, 64}, {.bias = true, .mask_out = true, .mask_in = true});
  check_dgrad<T>(launch, {3, 7, 9, 128, 64}, kDgrad);
  check_dgrad<T>(launch, {2, 13, 5, 64, 128}, kDgrad);
}

TEST_P(ConvolutionImplicitGemmTest, HalfMatchesReference) {
  check_cases<kernels::Half>();
}

TEST_P(ConvolutionImplicitGemmTest, Bfloat16MatchesReference) {
  check_cases<kernels::Bfloat16>();
}

// Wide maps have halo tiles of three runs and, for 64 output channels, a different tile.
TEST_P(ConvolutionImplicitGemmTest, WideMaps) {
  const test::ConvolutionLaunch<kernels::Half> launch = kernels::convolution_implicit_gemm<kernels::Half>;
  check_convolution<kernels::Half>(launch, {1, 3, 101, 64, 64}, kFprop);
  check_convolution<kernels::Half>(launch, {2, 2, 67, 64, 128}, kFprop);
  check_convolution<kernels::Half>(launch, {1, 2, 131, 64, 128}, kFprop);
  check_convolution<kernels::Half>(launch, {2, 1, 131, 64, 64}, kFprop);
  check_convolution<kernels::Half>(launch, {1, 2, 300, 64, 64}, kFprop);
}

TEST_P(ConvolutionImplicitGemmTest, AllTilesGiveTheSameBits) {
  using T = kernels::Half;
  const std::vector<test::ConvolutionLaunch<T>> launches{kernels::convolution_implicit_gemm<T>,
                                                         kernels::convolution_implicit_gemm_small<T>,
                                                         kernels::convolution_implicit_gemm_large<T>};
  // Several tiles of every size; halo tiles of one run and of three; a map too wide for the largest tile.
  for (const test::ConvolutionCase& shape :
       {test::ConvolutionCase{5, 9, 7, 128, 128}, test::ConvolutionCase{1, 2, 150, 64, 128},
        test::ConvolutionCase{1, 1, 300, 64, 128}}) {
    const auto input = test::random_values(shape.positions() * shape.in_channels, 6, -1.f);
    const auto weights =
        test::random_values(std::size_t{9} * shape.in_channels * shape.out_channels, 7, -1.f);
    const auto bias = test::random_values(shape.out_channels, 8, -1.f);
    std::vector<test::ConvolutionRun> runs;
    for (const auto& launch : launches) {
      runs.push_back(test::run_convolution<T>(launch, shape, kFprop, input, weights, bias));
    }
    for (const test::ConvolutionRun& run : runs) {
      EXPECT_EQ(run.output, runs.front().output);
      EXPECT_EQ(run.mask_out, runs.front().mask_out);
    }
  }
}

}  // namespace
}  // namespace filterscope
