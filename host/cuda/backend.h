#pragma once

#include <string>

#include "engine.h"

namespace filterscope::cuda {

/// All that can compute convolutions on device `index`, for make_cuda_engine: the project's kernels, and
/// cuDNN if it can be loaded; with the timings of earlier runs, kept in the user's cache folder. Makes the
/// device current. cuDNN starts when a layer first needs it, and is a device Error then if it does not.
CudaBackend make_backend(int index, bool reproducible);

/// The loaded cuDNN's version, or why there is none.
std::string cudnn_description();
/// For people: where the timings of device `index` are kept between runs, and how many there are.
std::string plan_cache_description(int index);

}  // namespace filterscope::cuda
