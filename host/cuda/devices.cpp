#include "devices.h"

#include <cuda_runtime_api.h>
#include <fmt/format.h>

#include <fstream>
#include <regex>

namespace filterscope {
namespace {

// CUDA encodes 12.4 as 12040.
std::string cuda_version_text(int version) {
  return fmt::format("{}.{}", version / 1000, version % 1000 / 10);
}

// The oldest compute capability that the kernels are compiled for.
constexpr int kOldestMajor = 8;

}  // namespace

std::vector<CudaDevice> cuda_devices() {
  int count = 0;
  if (cudaGetDeviceCount(&count) != cudaSuccess) {
    cudaGetLastError();  // Otherwise the runtime reports this error to the next caller.
    return {};
  }
  std::vector<CudaDevice> devices;
  for (int index = 0; index < count; ++index) {
    cudaDeviceProp properties{};
    if (cudaGetDeviceProperties(&properties, index) != cudaSuccess) {
      cudaGetLastError();
      continue;
    }
    CudaDevice device{.index = index,
                      .name = properties.name,
                      .major = properties.major,
                      .minor = properties.minor,
                      .memory_bytes = properties.totalGlobalMem,
                      .usable = properties.major >= kOldestMajor,
                      .remark = {}};
    device.remark = fmt::format("compute capability {}.{}, {:.1f} GiB", device.major, device.minor,
                                static_cast<double>(device.memory_bytes) / (1 << 30));
    if (!device.usable)
      device.remark += fmt::format("; expected compute capability {}.0 or later", kOldestMajor);
    devices.push_back(std::move(device));
  }
  return devices;
}

std::string nvidia_driver_release() {
  int driver = 0;
  if (cudaDriverGetVersion(&driver) != cudaSuccess || driver == 0) return "none";
  std::ifstream file("/proc/driver/nvidia/version");
  std::string line;
  std::smatch found;
  const bool told =
      std::getline(file, line) && std::regex_search(line, found, std::regex(R"( (\d+\.[\d.]+) )"));
  return told ? found[1].str() : "of unknown release";
}

std::string cuda_runtime_description() {
  int driver = 0;  // Stays 0 without a driver, which the runtime does not treat as an error.
  cudaDriverGetVersion(&driver);
  int count = 0;
  const cudaError_t error = cudaGetDeviceCount(&count);
  cudaGetLastError();
  std::string text = fmt::format("runtime {}, driver {}", cuda_version_text(CUDART_VERSION),
                                 driver == 0 ? "none" : "for CUDA " + cuda_version_text(driver));
  if (error != cudaSuccess && driver != 0) text += fmt::format(" ({})", cudaGetErrorString(error));
  return text;
}

std::string why_no_cuda() {
  int driver = 0;
  cudaDriverGetVersion(&driver);
  if (driver == 0) return "no NVIDIA driver is installed";
  int count = 0;
  const cudaError_t error = cudaGetDeviceCount(&count);
  cudaGetLastError();
  if (error == cudaErrorInsufficientDriver) {
    return fmt::format("the NVIDIA driver is for CUDA {}, too old for CUDA {}: update the driver",
                       cuda_version_text(driver), cuda_version_text(CUDART_VERSION));
  }
  if (error != cudaSuccess) return cudaGetErrorString(error);
  std::string found;
  for (const CudaDevice& device : cuda_devices()) {
    if (device.usable) return {};
    found += fmt::format("{}{} ({})", found.empty() ? "" : ", ", device.name, device.remark);
  }
  return found.empty() ? "the driver shows no GPU" : "no GPU here can be used: " + found;
}

}  // namespace filterscope
