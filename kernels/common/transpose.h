#pragma once

#include "types.h"

namespace filterscope::kernels {

/// Byte i of lane l becomes byte l of lane i, among as many lanes (consecutive, from a multiple of that) as
/// Word, an unsigned type, has bytes. All lanes of the warp must call it.
template <class Word>
__device__ inline Word transpose_bytes(Word bytes, int lane) {
#pragma unroll
  for (int distance = static_cast<int>(sizeof(Word)) / 2; distance > 0; distance /= 2) {
    const int bits = 8 * distance;
    // The bytes whose number lacks the bit `distance`.
    const Word even = ~Word{0} / ((Word{1} << bits) + 1);
    const Word other = __shfl_xor_sync(kFullWarp, bytes, distance);
    bytes = (lane & distance) != 0 ? (bytes & ~even) | (other & ~even) >> bits
                                   : (bytes & even) | (other & even) << bits;
  }
  return bytes;
}

}  // namespace filterscope::kernels
