#pragma once

#include <memory>
#include <vector>

#include "cuda/plan.h"
#include "engine.h"

namespace filterscope {

/// Renders on device `index`, with convolutions from `sources` (in the order of preference where timing does
/// not decide), which `libraries` names. The precision must not be automatic. The engine keeps references to
/// `network` and `weights`. What the device cannot do is a device Error.
std::unique_ptr<Engine> make_cuda_engine(const Network& network, const Weights& weights, const Recipe& recipe,
                                         const RenderOptions& options, int index,
                                         std::vector<cuda::ConvolutionSource> sources, Libraries libraries);

}  // namespace filterscope
