#pragma once

#include "host/cuda/runtime.h"
#include "host/run/precision.h"

/// What the current CUDA device is capable of, for benchmarks to set their times beside.
namespace filterscope::bench {

/// Bytes per second of a copy of 1 GiB within device memory, read and written together, by the device's
/// threads or cudaMemcpyAsync(), whichever is faster.
double copy_bandwidth(const cuda::Stream& stream);

/// Operations per second of a product of two 8192 x 8192 matrices, with sums in fp32, by the fastest
/// algorithm that cuBLASLt proposes. `precision`: not automatic.
double matrix_product(Precision precision, const cuda::Stream& stream);

}  // namespace filterscope::bench
