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
  bool usable = false;  ///< Whether its compute capability is one that the kernels are written for.
  std::string remark;   ///< Memory, capability, and why it is not usable.
};

/// The GPUs of this machine, by index. Empty without a driver, with one that is too old for the runtime, and
/// without a GPU; cuda_runtime_description() tells which.
std::vector<CudaDevice> cuda_devices();

/// One line for people: versions of the CUDA runtime and the driver, and why no device can be used if none
/// can.
std::string cuda_runtime_description();

/// Of the driver, such as 580.159.04, as its kernel module tells; "none" without one.
std::string nvidia_driver_release();

/// Why cuda_devices() has none that is usable, as the end of a sentence; empty if one is.
std::string why_no_cuda();

}  // namespace filterscope
