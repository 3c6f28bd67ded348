#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "convolution.h"
#include "cudnn_graph.h"

// Convolutions by cuDNN, one graph each, with the plan that is the fastest on the device. This header needs
// no header of cuDNN.

namespace filterscope::cuda {

class PlanCache;

/// How the plan of a graph is chosen.
struct CudnnOptions {
  /// Plans that want more are left out. In fp32 and tf32 many convert whole maps to NCHW there.
  std::size_t workspace_limit = std::size_t{1} << 30;
  /// The first plan that cuDNN's heuristic proposes and that works, without timing: the same one in every
  /// run.
  bool reproducible = false;
  /// Of one graph. Compiling takes 0.1 to 1 s for each plan.
  PlanLimits timed{};
  /// What earlier runs timed; may be null. Must outlive what uses it. Unused when reproducible.
  PlanCache* cache = nullptr;
};

/// The convolutions that cuDNN computes on one device. Results of timing are kept. For one thread at a time,
/// as are all variants that it makes.
class CudnnConvolutions {
 public:
  class Device;  ///< Of the implementation.

  /// On the current device, which must stay the current one. A device Error without one, or if cuDNN cannot
  /// be loaded or does not start.
  explicit CudnnConvolutions(const CudnnOptions& options = {});

  /// Every way in which cuDNN computes `problem`; none for Gate::bits, and in fp32, where cuDNN's only fused
  /// kernels besides bias and ReLU take seconds to compile, none for bytes and an input gradient's activation
  /// either. No plan gives results that differ from run to run; fp32 stays without tensor cores.
  ///
  /// Plans that are not known from an earlier call or the cache are timed here, which takes device memory for
  /// the problem's maps for the while (OutOfMemory where that is not there). Known ones, and those of a
  /// reproducible run, are made ready when the variant is first asked for its workspace or launched, which
  /// must not be while a stream is captured; that is a device Error if none works.
  std::vector<std::unique_ptr<ConvolutionVariant>> variants(const ConvolutionProblem& problem);

 private:
  std::shared_ptr<Device> device_;
};

}  // namespace filterscope::cuda
