#include "cuda_devices.h"

#include <cuda_runtime_api.h>
#include <cudnn_version.h>
#include <fmt/format.h>

namespace filterscope {
namespace {

// CUDA encodes 12.4 as 12040.
std::string cuda_version_text(int version) {
  return fmt::format("{}.{}", version / 1000, version % 1000 / 10);
}

}  // namespace

std::vector<CudaDevice> cuda_devices() {
  int count = 0;
  if (cudaGetDeviceCount(&count) != cudaSuccess) {
    cudaGetLastError();  // The runtime would hand this error to whoever asks next.
    return {};
  }
  std::vector<CudaDevice> devices;
  for (int index = 0; index < count; ++index) {
    cudaDeviceProp properties{};
    if (cudaGetDeviceProperties(&properties, index) != cudaSuccess) {
      cudaGetLastError();
      continue;
    }
    devices.push_back(
        {index, properties.name, properties.major, properties.minor, properties.totalGlobalMem});
  }
  return devices;
}

std::string cuda_runtime_description() {
  int driver = 0;  // Stays 0 without a driver, which is no error to the runtime.
  cudaDriverGetVersion(&driver);
  int count = 0;
  const cudaError_t error = cudaGetDeviceCount(&count);
  cudaGetLastError();
  std::string text =
      fmt::format("CUDA runtime {}, driver {}, cuDNN {}.{}.{}", cuda_version_text(CUDART_VERSION),
                  driver == 0 ? "none" : "for CUDA " + cuda_version_text(driver), CUDNN_MAJOR, CUDNN_MINOR,
                  CUDNN_PATCHLEVEL);
  if (error != cudaSuccess && driver != 0) text += fmt::format(" ({})", cudaGetErrorString(error));
  return text;
}

}  // namespace filterscope
