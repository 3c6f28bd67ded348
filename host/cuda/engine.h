#pragma once

#include <memory>
#include <string>
#include <vector>

#include "../ascent/recipe.h"
#include "../model/network.h"
#include "../model/weights/weights.h"
#include "../run/engine.h"
#include "../run/render_options.h"
#include "plan/planner.h"

namespace filterscope {

/// What a CUDA engine computes with.
struct CudaBackend {
  int device = 0;                                ///< Of the CUDA runtime.
  std::vector<cuda::ConvolutionSource> sources;  ///< In the order of preference where timing does not decide.
  cuda::PlanRule rule = cuda::PlanRule::timed;
  cuda::Timings timings;
  Libraries libraries;  ///< For the description.
  /// Why a source is not there that should be: a notice before anything is rendered, and the reason of the
  /// device Error where the others do not do.
  std::string missing{};
};

/// Renders on a GPU. The precision must not be automatic. The engine keeps references to `network` and
/// `weights`. What the device cannot do is a device Error.
std::unique_ptr<Engine> make_cuda_engine(const Network& network, const Weights& weights, const Recipe& recipe,
                                         const RenderOptions& options, CudaBackend backend);

}  // namespace filterscope
