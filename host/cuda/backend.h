#pragma once

#include "../engine_cuda.h"

namespace filterscope::cuda {

/// All that can compute convolutions on device `index`, for make_cuda_engine: cuDNN, and the project's
/// kernels; with the timings of earlier runs, kept in the user's cache folder. Makes the device current. A
/// device Error if cuDNN does not start.
CudaBackend make_backend(int index, bool reproducible);

}  // namespace filterscope::cuda
