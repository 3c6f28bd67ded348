#pragma once

#include "types.h"

namespace filterscope::kernels {

/// Byte i of lane l becomes byte l of lane i, within aligned groups of sizeof(Word) lanes; Word is an
/// unsigned type. All lanes of the warp must call it.
template <class Word>
__device__ inline Word transpose_bytes(Word bytes, int lane) {
#pragma unroll
  for (int distance = static_cast<int>(sizeof(Word)) / 2; distance > 0; distance /= 2) {
    const int bits = 8 * distance;
    // Mask of the bytes whose index lacks the bit `distance`.
    const Word even = ~Word{0} / ((Word{1} << bits) + 1);
    const Word other = __shfl_xor_sync(kFullWarp, bytes, distance);
    bytes = (lane & distance) != 0 ? (bytes & ~even) | (other & ~even) >> bits
                                   : (bytes & even) | (other & even) << bits;
  }
  return bytes;
}

}  // namespace filterscope::kernels
