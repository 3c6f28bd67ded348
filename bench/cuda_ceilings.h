#pragma once

#include "host/cuda/runtime.h"
#include "host/run/precision.h"

/// The measured peaks of the current CUDA device, with which benchmarks compare their times.
namespace filterscope::bench {

/// Bytes per second, read and written together, of a copy of 1 GiB within device memory by the device's
/// threads or cudaMemcpyAsync(), whichever is faster.
double copy_bandwidth(const cuda::Stream& stream);

/// Operations per second of a product of two 8192 x 8192 matrices, with fp32 accumulators, by the fastest
/// algorithm that cuBLASLt proposes. `precision` must not be automatic.
double matrix_product(Precision precision, const cuda::Stream& stream);

}  // namespace filterscope::bench
