#pragma once

#include <cstddef>
#include <stdexcept>
#include <string>
#include <utility>

#include "platform.h"

namespace filterscope::kernels {

/// A launch that the device refused.
class LaunchError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

struct LaunchShape {
  dim3 grid;
  dim3 block;
  std::size_t dynamic_shared_bytes = 0;
};

/// Starts `kernel` on `stream`; all kernels start through here. `name` is what an error calls it. An empty
/// grid starts nothing. Throws LaunchError.
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
    cudaGetLastError();  // The runtime would hand this error to whoever asks next.
    throw LaunchError(std::string("kernel ") + name + ": " + cudaGetErrorName(status) + ": " +
                      cudaGetErrorString(status));
  };
  constexpr std::size_t kUnaskedSharedBytes = 48 * 1024;
  if (shape.dynamic_shared_bytes > kUnaskedSharedBytes) {
    // Never lowered: what was captured may need what an earlier launch asked for.
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
