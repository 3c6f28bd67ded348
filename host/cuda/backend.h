#pragma once

#include "../engine_cuda.h"

namespace filterscope::cuda {

/// All that can compute convolutions on device `index`, for make_cuda_engine: the project's kernels, and
/// cuDNN if it can be loaded; with the timings of earlier runs, kept in the user's cache folder. Makes the
/// device current. cuDNN starts when a layer first needs it, and is a device Error then if it does not.
CudaBackend make_backend(int index, bool reproducible);

}  // namespace filterscope::cuda
