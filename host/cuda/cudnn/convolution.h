#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "../convolution.h"
#include "../plan/plan_cache.h"
#include "fastest_plan.h"

// Convolutions by cuDNN, one graph each, with the fastest plan on the device. This header includes no header
// of cuDNN.

namespace filterscope::cuda {

/// How the plan of a graph is chosen.
struct CudnnOptions {
  /// Plans that need more are left out. In fp32 and tf32, many use it to convert whole maps to NCHW.
  std::size_t workspace_limit = std::size_t{1} << 30;
  /// How many plans of one graph are timed.
  PlanLimits timed{};
  /// The timings of earlier runs; may be null. Must outlive its users.
  PlanCache* cache = nullptr;
  /// Called for each plan that gives a wrong result, which is then not used.
  std::function<void(const std::string&)> warn = PlanCache::warn_on_stderr;
};

/// The convolutions that cuDNN computes on one device. Keeps timings. Neither it nor the variants it makes
/// are thread-safe.
class CudnnConvolutions {
 public:
  class Device;  ///< The implementation.

  /// For the current device, which must stay current. cuDNN is initialised on the first request that
  /// options.cache cannot answer; throws a device Error then if that fails.
  explicit CudnnConvolutions(const CudnnOptions& options = {});

  /// cuDNN's variants of `problem`. There are none for MaskFormat::bits. In fp32 there are none for bytes or
  /// a dgrad with an activation either: cuDNN's only kernels that fuse more than bias and ReLU take seconds
  /// to compile there. All plans are deterministic, and fp32 does not use tensor cores. Each graph has up to
  /// two plans: the fastest one that comes with cuDNN and the fastest one that is compiled, as far as
  /// `search` and `has_time` (if given) allow. With PlanSearch::untimed, it is the first working plan that
  /// cuDNN's heuristic proposes, the same in every run. Plans are timed on timed_problem(), which temporarily
  /// takes device memory for its maps. What is found while memory is short, a plan fails or time runs out is
  /// kept for this object's lifetime but not cached. A plan may turn out to be unavailable for the problem's
  /// own number of images; make_ready() then returns false.
  std::vector<std::unique_ptr<ConvolutionVariant>> variants(const ConvolutionProblem& problem,
                                                            PlanSearch search = PlanSearch::compiled,
                                                            const TimingBudget& has_time = {});

 private:
  std::shared_ptr<Device> device_;
};

}  // namespace filterscope::cuda
