#pragma once

#include <cuda_runtime_api.h>
#include <fmt/format.h>

#include <utility>

#include "../base/error.h"

namespace filterscope::cuda {

/// Throws a device Error unless `status` is success: what was attempted (a format string and its arguments,
/// used only then), and CUDA's reason. The runtime's own record of the error is cleared, or the next call
/// would report it again; one that has broken the context comes back all the same.
template <typename... Arguments>
void check(cudaError_t status, fmt::format_string<Arguments...> attempted, Arguments&&... arguments) {
  if (status == cudaSuccess) return;
  cudaGetLastError();
  throw Error(ErrorKind::device,
              fmt::format("{}: {} ({})", fmt::format(attempted, std::forward<Arguments>(arguments)...),
                          cudaGetErrorString(status), cudaGetErrorName(status)));
}

}  // namespace filterscope::cuda
