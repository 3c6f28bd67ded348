#pragma once

#include <memory>

#include "../ascent/recipe.h"
#include "../model/network.h"
#include "../model/weights/weights.h"
#include "../run/device_info.h"
#include "../run/engine.h"
#include "../run/render_options.h"

namespace filterscope {

/// The CPU engine. Computes in fp32; another precision is a device Error.
std::unique_ptr<Engine> make_cpu_engine(const Network& network, const Weights& weights, const Recipe& recipe,
                                        const RenderOptions& options);

/// The processor's name, its cores and the kernels that run on it.
DeviceInfo cpu_device();

}  // namespace filterscope
