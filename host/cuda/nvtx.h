#pragma once

#include <string>

#if defined(FILTERSCOPE_EMULATED)
#include <cuda_runtime_api.h>
#else
#include <nvtx3/nvToolsExt.h>
#endif

namespace filterscope::cuda::nvtx {

/// A named range in a profiler's timeline, from construction to destruction. Without a profiler it costs
/// almost nothing.
class Range {
 public:
#if defined(FILTERSCOPE_EMULATED)
  explicit Range(const std::string& name) {
    emulation::push_range(name);
  }
  ~Range() {
    emulation::pop_range();
  }
#else
  explicit Range(const std::string& name) {
    nvtxRangePushA(name.c_str());
  }
  ~Range() {
    nvtxRangePop();
  }
#endif
  Range(const Range&) = delete;
  Range& operator=(const Range&) = delete;
};

}  // namespace filterscope::cuda::nvtx
