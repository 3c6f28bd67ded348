#pragma once

#include <cuda_runtime_api.h>
#include <gtest/gtest.h>

namespace filterscope::cuda {

/// A test that is built for the emulated device and again for a real one, and is skipped if there is none.
class OnDevice : public testing::Test {
 protected:
  void SetUp() override {
#if !defined(FILTERSCOPE_EMULATED)
    int count = 0;
    if (cudaGetDeviceCount(&count) != cudaSuccess || count == 0) GTEST_SKIP() << "no CUDA device";
#endif
  }
};

}  // namespace filterscope::cuda
