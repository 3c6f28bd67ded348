#pragma once

#include <cstdint>

#include "types.h"

namespace filterscope::kernels {

/// Eight 16-bit elements, two per word. Their mask is a byte: bits 2 i and 2 i + 1 stand for the low and the
/// high half of word i.
using Chunk = Vector<std::uint32_t, 4>;

/// Zeroes the elements whose bit is not set.
__device__ inline void apply_mask(Chunk& chunk, std::uint32_t bits) {
  const std::uint32_t spread = bits | bits << 15;
#pragma unroll
  for (int i = 0; i < 4; ++i) chunk[i] &= (spread >> 2 * i & 0x00010001u) * 0xffffu;
}

/// The mask of the elements above zero; a NaN with a clear sign bit counts as such.
__device__ inline std::uint32_t above_zero(const Chunk& chunk) {
  std::uint32_t bits = 0;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    // The top bit of each half is set where the magnitude is not zero and the sign is clear.
    const std::uint32_t above = ((chunk[i] & 0x7fff7fffu) + 0x7fff7fffu) & ~chunk[i] & 0x80008000u;
    bits = bits >> 2 | above;
  }
  return (bits >> 9 & 0x55u) | (bits >> 24 & 0xaau);
}

}  // namespace filterscope::kernels
