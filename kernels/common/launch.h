#pragma once

#include <cstddef>
#include <stdexcept>
#include <string>
#include <utility>

#include "platform.h"

namespace filterscope::kernels {

/// Thrown where the device refuses a launch.
class LaunchError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

struct LaunchShape {
  dim3 grid;
  dim3 block;
  std::size_t dynamic_shared_bytes = 0;
};

/// Starts `kernel` on `stream`; every kernel is launched through this function. Errors name the kernel
/// `name`. An empty grid starts nothing. Throws LaunchError.
template <class... Parameters, class... Arguments>
void launch(const char* name, void (*kernel)(Parameters...), const LaunchShape& shape, cudaStream_t stream,
            Arguments&&... arguments) {
  if (shape.grid.x == 0 || shape.grid.y == 0 || shape.grid.z == 0) return;
#if defined(FILTERSCOPE_EMULATED)
  emulation::launch(
      name, shape.grid, shape.block, shape.dynamic_shared_bytes, stream,
      [kernel, ... converted = Parameters(std::forward<Arguments>(arguments))] { kernel(converted...); });
#else
  const auto require = [name](cudaError_t status) {
    if (status == cudaSuccess) return;
    cudaGetLastError();  // Clears the error, which the runtime would otherwise report to a later call.
    throw LaunchError(std::string("kernel ") + name + ": " + cudaGetErrorName(status) + ": " +
                      cudaGetErrorString(status));
  };
  constexpr std::size_t kDefaultSharedBytes = 48 * 1024;
  if (shape.dynamic_shared_bytes > kDefaultSharedBytes) {
    // Never lowered: a captured graph may still rely on an earlier launch's limit.
    cudaFuncAttributes attributes{};
    require(cudaFuncGetAttributes(&attributes, kernel));
    const auto bytes = static_cast<int>(shape.dynamic_shared_bytes);
    if (attributes.maxDynamicSharedSizeBytes < bytes) {
      require(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes));
    }
  }
  cudaLaunchConfig_t config{};
  config.gridDim = shape.grid;
  config.blockDim = shape.block;
  config.dynamicSmemBytes = shape.dynamic_shared_bytes;
  config.stream = stream;
  require(cudaLaunchKernelEx(&config, kernel, std::forward<Arguments>(arguments)...));
#endif
}

}  // namespace filterscope::kernels
