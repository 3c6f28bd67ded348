#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "../convolution.h"
#include "../plan/plan_cache.h"
#include "graph.h"

// Convolutions by cuDNN, one graph each, with the plan that is the fastest on the device. This header needs
// no header of cuDNN.

namespace filterscope::cuda {

/// How the plan of a graph is chosen.
struct CudnnOptions {
  /// Plans that want more are left out. In fp32 and tf32 many convert whole maps to NCHW there.
  std::size_t workspace_limit = std::size_t{1} << 30;
  /// Of one graph.
  PlanLimits timed{};
  /// What earlier runs timed; may be null. Must outlive what uses it.
  PlanCache* cache = nullptr;
  /// Told of each plan whose result is wrong. It is not used.
  std::function<void(const std::string&)> warn = PlanCache::warn_on_stderr;
};

/// The convolutions that cuDNN computes on one device. Results of timing are kept. For one thread at a time,
/// as are all variants that it makes.
class CudnnConvolutions {
 public:
  class Device;  ///< Of the implementation.

  /// On the current device, which must stay the current one. cuDNN starts when something is first asked of it
  /// that options.cache does not know; a device Error then without a device, or if it does not start.
  explicit CudnnConvolutions(const CudnnOptions& options = {});

  /// Ways in which cuDNN computes `problem`; none for MaskFormat::bits, and in fp32, where cuDNN's only fused
  /// kernels besides bias and ReLU take seconds to compile, none for bytes and a dgrad's activation
  /// either. No plan gives results that differ from run to run; fp32 stays without tensor cores.
  ///
  /// Of each graph up to two plans: the fastest of those that come with cuDNN and the fastest of those that
  /// are compiled, as far as `search` finds them and `has_time` (if given) leaves time for it.
  /// PlanSearch::untimed: the first plan that cuDNN's heuristic proposes and that works, in every run the
  /// same. Plans are timed on timed_problem(), which takes device memory for its maps for the while. What is
  /// found while memory is short, a plan fails or time runs out is kept for this object's life only, not in
  /// the cache.
  ///
  /// A plan may turn out not to be offered for the problem's own number of images:
  /// ConvolutionVariant::make_ready().
  std::vector<std::unique_ptr<ConvolutionVariant>> variants(const ConvolutionProblem& problem,
                                                            PlanSearch search = PlanSearch::compiled,
                                                            const TimingBudget& has_time = {});

 private:
  std::shared_ptr<Device> device_;
};

}  // namespace filterscope::cuda
