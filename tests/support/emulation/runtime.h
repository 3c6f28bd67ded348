#pragma once

#include <functional>

#include "cuda_runtime_api.h"

namespace filterscope::emulation {

/// Does `operation` now, or, while `stream` is captured, adds it to the graph.
void enqueue(cudaStream_t stream, std::function<void()> operation);

}  // namespace filterscope::emulation
