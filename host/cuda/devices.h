#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace filterscope {

/// A GPU as the CUDA runtime describes it. Only in builds with CUDA (FILTERSCOPE_WITH_CUDA).
struct CudaDevice {
  int index = 0;  ///< What cudaSetDevice takes; the N of "cuda:N".
  std::string name;
  int major = 0;  ///< Compute capability.
  int minor = 0;
  std::size_t memory_bytes = 0;
  bool usable = false;  ///< Whether the kernels support its compute capability.
  std::string remark;   ///< Memory, compute capability, and why it is not usable.
};

/// The GPUs of this machine, by index. Empty without a driver, with a driver that is too old for the runtime,
/// or without a GPU; cuda_runtime_description() says which.
std::vector<CudaDevice> cuda_devices();

/// One line for display: versions of the CUDA runtime and the driver, and if no device can be used, why.
std::string cuda_runtime_description();

/// The driver's release, such as 580.159.04, as its kernel module reports it; "none" without a driver.
std::string nvidia_driver_release();

/// Why cuda_devices() has no usable device, as the end of a sentence; empty if it has one.
std::string why_no_cuda();

}  // namespace filterscope
