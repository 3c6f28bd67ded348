#pragma once

#include <string>

#include "engine.h"

namespace filterscope::cuda {

/// The sources of convolutions on device `index`, for make_cuda_engine: the project's kernels, and cuDNN if
/// it can be loaded; with the timings of earlier runs from the user's cache folder. Makes the device current.
/// cuDNN is initialised when a layer first needs it; throws a device Error then if that fails.
CudaBackend make_backend(int index, bool reproducible);

/// The version of the loaded library, or why there is none.
std::string cudnn_description();
std::string cufft_description();
/// For display: where the timings of device `index` are kept between runs, and how many there are.
std::string plan_cache_description(int index);

}  // namespace filterscope::cuda
