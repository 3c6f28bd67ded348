#pragma once

#include <gtest/gtest.h>

#include "convolution_check.h"

/// The fixture of the tests of convolution_wgmma, which skips devices without wgmma.
namespace filterscope::test {

inline bool wgmma_takes(int width, int in_channels, int out_channels) {
  return kernels::convolution_wgmma_takes({2, width, in_channels, out_channels});
}

class ConvolutionWgmmaTest : public DeviceTest {
 protected:
  void SetUp() override {
    DeviceTest::SetUp();
    if (IsSkipped()) return;
    if (!wgmma_takes(1, 64, 64)) {
      cudaDeviceProp device{};
      ASSERT_EQ(cudaGetDeviceProperties(&device, 0), cudaSuccess);
      ASSERT_NE(device.major, 9) << "the kernels were built without code for sm_90a";
      GTEST_SKIP() << "the device has no wgmma (sm_90a)";
    }
  }
};

template <class T>
kernels::ConvolutionKernel<T> wgmma_large() {
  return {"wgmma_large", kernels::convolution_wgmma_large_takes, kernels::convolution_wgmma_large<T>};
}
template <class T>
kernels::ConvolutionKernel<T> wgmma() {
  return {"wgmma", kernels::convolution_wgmma_takes, kernels::convolution_wgmma<T>};
}

}  // namespace filterscope::test
