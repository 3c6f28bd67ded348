#pragma once

#include <cstdint>

#include "../common/chunk.h"
#include "../common/types.h"

/// A 2x2 max-pool and its gradient on words of two 16-bit elements in registers, for kernels that fuse them.
/// Elements of a window are numbered 2 * row + column.
namespace filterscope::kernels {

constexpr int kPoolWindow = 4;
constexpr int kArgmaxPerWord = 16;  ///< Channels per word of PoolIndices::argmax.
constexpr int kActivePerWord = 32;  ///< Channels per word of PoolIndices::active.

struct PooledWord {
  std::uint32_t values;
  std::uint32_t argmax;  ///< Two bits for the low half, then two for the high half.
};

/// The maxima over a window's four words of a ReLU's output, and the element that each comes from, the first
/// of equal ones. Without the sign, which only a zero can have, such elements are ordered like their bits,
/// with NaN above all.
__device__ inline PooledWord pool_word(const std::uint32_t (&window)[kPoolWindow]) {
  constexpr std::uint32_t kMagnitude = 0x7fffu;
  // A key is an element followed by the order that makes it win over equal elements after it.
  std::uint32_t low = 0;
  std::uint32_t high = 0;
#pragma unroll
  for (int i = 0; i < kPoolWindow; ++i) {
    const auto order = static_cast<std::uint32_t>(kPoolWindow - 1 - i);
    const std::uint32_t low_key = (window[i] & kMagnitude) << 2 | order;
    const std::uint32_t high_key = (window[i] >> 14 & kMagnitude << 2) | order;
    low = low_key > low ? low_key : low;
    high = high_key > high ? high_key : high;
  }
  return {.values = low >> 2 | high >> 2 << 16, .argmax = (~low & 3u) | (~high & 3u) << 2};
}

/// The part of a pool's gradient, for a chunk of eight channels, that goes through the pool and the ReLU
/// below it to element `element` of the window. `argmax` has two bits per channel, `active` one.
__device__ inline Chunk unpool_chunk(const Chunk& gradient, std::uint32_t argmax, std::uint32_t active,
                                     int element) {
  // Bit 2 c belongs to channel c.
  active = (active | active << 4) & 0x0f0fu;
  active = (active | active << 2) & 0x3333u;
  active = (active | active << 1) & 0x5555u;
  const std::uint32_t differs = argmax ^ static_cast<std::uint32_t>(element) * 0x5555u;
  const std::uint32_t passes = ~(differs | differs >> 1) & active;
  const std::uint32_t spread = passes | passes << 14;
  Chunk chunk;
#pragma unroll
  for (int i = 0; i < 4; ++i) chunk[i] = gradient[i] & (spread >> 4 * i & 0x00010001u) * 0xffffu;
  return chunk;
}

}  // namespace filterscope::kernels
