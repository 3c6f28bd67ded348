#pragma once

#include <cuda_runtime_api.h>
#include <fmt/format.h>

#include <utility>

#include "../base/error.h"

namespace filterscope::cuda {

/// Throws a device Error with what was attempted (a format string and its arguments) and CUDA's reason,
/// unless `status` is success. Clears the runtime's record of the error, which the next call would report
/// again; an error that has broken the context is reported again all the same.
template <typename... Arguments>
void check(cudaError_t status, fmt::format_string<Arguments...> attempted, Arguments&&... arguments) {
  if (status == cudaSuccess) return;
  cudaGetLastError();
  throw Error(ErrorKind::device,
              fmt::format("{}: {} ({})", fmt::format(attempted, std::forward<Arguments>(arguments)...),
                          cudaGetErrorString(status), cudaGetErrorName(status)));
}

}  // namespace filterscope::cuda
