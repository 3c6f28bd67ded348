#pragma once

#include "../common/types.h"

namespace filterscope::kernels::ptx {

/// Returns when at least so many clocks of the multiprocessor have passed. In emulation there are none.
__device__ inline void wait_clocks([[maybe_unused]] int clocks) {
#if !defined(FILTERSCOPE_EMULATED)
  const long long start = clock64();
  while (clock64() - start < clocks) {
  }
#endif
}

}  // namespace filterscope::kernels::ptx
