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
  int device = 0;                                ///< Number in the CUDA runtime.
  std::vector<cuda::ConvolutionSource> sources;  ///< In order of preference, if timing does not decide.
  cuda::PlanRule rule = cuda::PlanRule::timed;
  cuda::Timings timings;
  Libraries libraries;  ///< For EngineDescription.
  /// Why an expected source is missing: a notice before the first batch, or part of the device Error if the
  /// other sources do not suffice.
  std::string missing{};
};

/// The engine of one GPU. The precision must not be automatic. Keeps references to `network` and `weights`.
/// Throws a device Error for what the device cannot do.
std::unique_ptr<Engine> make_cuda_engine(const Network& network, const Weights& weights, const Recipe& recipe,
                                         const RenderOptions& options, CudaBackend backend);

}  // namespace filterscope
