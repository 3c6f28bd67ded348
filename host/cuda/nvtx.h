#pragma once

#include <string>

#if defined(FILTERSCOPE_EMULATED)
#include <cuda_runtime_api.h>
#else
#include <nvtx3/nvToolsExt.h>
#endif

namespace filterscope::cuda::nvtx {

/// A named range in the timeline of a profiler, from construction to destruction; next to nothing without a
/// profiler.
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
