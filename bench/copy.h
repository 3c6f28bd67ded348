#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>

namespace filterscope::bench {

/// A copy by the device's threads. `count` must be a multiple of 4096; both pointers are aligned to 16 bytes.
void copy_words(const std::uint32_t* from, std::uint32_t* to, std::size_t count, cudaStream_t stream);

}  // namespace filterscope::bench
