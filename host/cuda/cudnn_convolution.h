#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "convolution.h"

// Convolutions by cuDNN's graph API. This header needs no header of cuDNN.

namespace filterscope::cuda {

class PlanCache;

/// A cuDNN handle on the device that is current at construction. Use it from one thread at a time; variants
/// made with it keep it alive.
class Cudnn {
 public:
  /// A device Error without a device, or if cuDNN does not start.
  Cudnn();
  ~Cudnn();
  Cudnn(Cudnn&&) noexcept;
  Cudnn& operator=(Cudnn&&) noexcept;

  /// Of the library that runs, such as "9.19.0".
  static std::string version();

  struct State;
  const std::shared_ptr<State>& state() const { return state_; }

 private:
  std::shared_ptr<State> state_;
};

/// How cuDNN's plan (kernel and its parameters) for a graph is chosen.
struct CudnnOptions {
  std::size_t workspace_limit = std::size_t{1} << 30;  ///< Plans that want more are left out.
  /// The first plan that cuDNN's heuristic proposes and that works, without timing: the same plan in every
  /// run.
  bool reproducible = false;
  /// Of earlier runs' timings; none: every plan is timed. Not used when reproducible.
  PlanCache* cache = nullptr;
};

/// Every way in which cuDNN computes `problem`, each with its best plan (CudnnOptions says how that is
/// found). Plans whose result may differ from run to run are never among them; fp32 stays without tensor
/// cores. Empty if cuDNN has none (always for Gate::bits). Timing takes device memory for the problem's maps,
/// which is released again, and uses a stream of its own.
std::vector<std::unique_ptr<ConvolutionVariant>> cudnn_variants(const Cudnn& cudnn,
                                                                const ConvolutionProblem& problem,
                                                                const CudnnOptions& options = {});

}  // namespace filterscope::cuda
