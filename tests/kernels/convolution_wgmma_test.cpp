#include <gtest/gtest.h>

#include "convolution_check.h"

namespace filterscope {
namespace {

using test::check_convolution;
using test::check_input_gradient;
using test::ConvolutionOptions;

class ConvolutionWgmmaTest : public test::DeviceTest {
 protected:
  void SetUp() override {
    test::DeviceTest::SetUp();
    if (IsSkipped()) return;
    if (!kernels::convolution_wgmma_takes(1, 64, 64)) {
      cudaDeviceProp device{};
      ASSERT_EQ(cudaGetDeviceProperties(&device, 0), cudaSuccess);
      ASSERT_NE(device.major, 9) << "the kernels were built without code for sm_90a";
      GTEST_SKIP() << "the device has no wgmma (sm_90a)";
    }
#if defined(FILTERSCOPE_EMULATED)
    bank_conflicts_ = emulation::ldmatrix_bank_conflicts();
#endif
  }
  void TearDown() override {
#if defined(FILTERSCOPE_EMULATED)
    EXPECT_EQ(emulation::ldmatrix_bank_conflicts(), bank_conflicts_)
        << "the layout of shared memory is for no conflicts";
#endif
    test::DeviceTest::TearDown();
  }

 private:
  [[maybe_unused]] long bank_conflicts_ = 0;
};
FILTERSCOPE_DEVICE_TEST_SUITE(ConvolutionWgmmaTest);

constexpr ConvolutionOptions kForward{.bias = true, .mask = true};
constexpr ConvolutionOptions kGradient{.gate = true};

template <class T>
void check_shapes() {
  const test::ConvolutionLaunch<T> launch = kernels::convolution_wgmma<T>;
  // A part of a tile, down to a single position that has no neighbours.
  check_convolution<T>(launch, {1, 1, 1, 64, 64}, kForward);
  check_convolution<T>(launch, {2, 2, 3, 64, 128}, kForward);
  // Several tiles for each block, with the end of one image and the start of the next one, and a partial last
  // tile: with the weights of all tiles in shared memory, and with weights that come anew for each tile.
  check_convolution<T>(launch, {19, 7, 9, 64, 64}, kForward);
  check_convolution<T>(launch, {11, 7, 9, 192, 64}, kForward);
  check_convolution<T>(launch, {17, 6, 6, 64, 256}, kForward);
  check_convolution<T>(launch, {3, 13, 5, 128, 192}, {.bias = true});
  // Options.
  check_convolution<T>(launch, {2, 5, 13, 64, 128}, {});
  check_convolution<T>(launch, {1, 5, 13, 64, 192}, {.mask = true, .gate = true});
  check_convolution<T>(launch, {1, 5, 13, 64, 64}, {.bias = true, .mask = true, .gate = true});
  check_input_gradient<T>(launch, {9, 7, 9, 128, 64}, kGradient);
  check_input_gradient<T>(launch, {5, 13, 5, 64, 128}, kGradient);
}

TEST_P(ConvolutionWgmmaTest, HalfMatchesReference) {
  check_shapes<kernels::Half>();
}

TEST_P(ConvolutionWgmmaTest, Bfloat16MatchesReference) {
  check_shapes<kernels::Bfloat16>();
}

// The wider the map, the fewer tiles of weights have room beside the strips.
TEST_P(ConvolutionWgmmaTest, WideMaps) {
  using kernels::Half;
  const test::ConvolutionLaunch<Half> launch = kernels::convolution_wgmma<Half>;
  check_convolution<Half>(launch, {1, 3, 101, 64, 64}, kForward);
  check_convolution<Half>(launch, {2, 2, 131, 64, 128}, kForward);
  int widest = 131;
  while (kernels::convolution_wgmma_takes(widest + 1, 64, 128)) ++widest;
  check_convolution<Half>(launch, {1, 2, widest, 64, 128}, kForward);
  while (kernels::convolution_wgmma_takes(widest + 1, 64, 64)) ++widest;
  check_convolution<Half>(launch, {1, 2, widest, 64, 64}, kForward);
  EXPECT_FALSE(kernels::convolution_wgmma_takes(1000, 64, 64));
}

TEST_P(ConvolutionWgmmaTest, TakesMultiplesOf64Channels) {
  EXPECT_TRUE(kernels::convolution_wgmma_takes(96, 64, 128));
  EXPECT_FALSE(kernels::convolution_wgmma_takes(96, 32, 128));
  EXPECT_FALSE(kernels::convolution_wgmma_takes(96, 64, 96));
}

}  // namespace
}  // namespace filterscope
