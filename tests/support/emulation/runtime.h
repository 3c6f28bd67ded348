#pragma once

#include <functional>

#include "cuda_runtime_api.h"

/// Shared by the parts of the emulated CUDA runtime.
namespace filterscope::emulation {

/// Runs `operation` now or when `stream` gets to it; while `stream` is captured, adds it to the graph.
void enqueue(cudaStream_t stream, std::function<void()> operation);
/// Runs everything enqueued so far; does nothing for the default stream.
void run_all(cudaStream_t stream);
void run_all_streams();

/// Makes `error` the last error, and returns it.
cudaError_t failed(cudaError_t error);
/// Whether a stream is being captured. Then the device refuses to allocate and to wait.
bool capturing();
Counters& mutable_counters();

}  // namespace filterscope::emulation
