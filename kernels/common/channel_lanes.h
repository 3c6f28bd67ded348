#pragma once

#include <bit>
#include <cstdint>

#include "types.h"

/// How warps access channels-last maps: eight lanes share one position, each with 16 bytes of consecutive
/// channels, so that a warp's access covers four positions of 128 bytes, whole cache lines. fp32 values per
/// channel, such as weights, come in quads of four.
namespace filterscope::kernels {

constexpr int kChannelLanes = 8;
/// Positions in one access of a warp.
constexpr int kPositionGroups = kWarpSize / kChannelLanes;

using Quad = Vector<float, 4>;

/// Channels in one lane's access.
template <class T>
constexpr int kVectorSize = static_cast<int>(16 / sizeof(T));
/// Channels in one access of the eight lanes: 64 of 16 bits, or 32 of 32 bits.
template <class T>
constexpr int kChannelChunk = kChannelLanes* kVectorSize<T>;
template <class T>
constexpr int kQuadsPerVector = kVectorSize<T> / 4;

/// The first channel of a lane's quad `quad`, where a lane's quads are numbered over consecutive chunks.
/// Shared memory stores quads as [quad][lane], which eight lanes read without bank conflicts.
template <class T>
__host__ __device__ constexpr int quad_channel(int quad, int lane) {
  return quad / kQuadsPerVector<T> * kChannelChunk<T> + lane * kVectorSize<T> + quad % kQuadsPerVector<T> * 4;
}
/// The index in [quad][lane] of the quad that contains `channel`.
template <class T>
__host__ __device__ constexpr int quad_place(int channel) {
  const int quad = channel / kChannelChunk<T> * kQuadsPerVector<T> + channel % kVectorSize<T> / 4;
  return quad * kChannelLanes + channel % kChannelChunk<T> / kVectorSize<T>;
}

/// The 16 bytes of a vector as four registers. For selects and copies of a Vector of 16-bit values, the
/// compiler would unpack and repack every element.
using Words = Vector<std::uint32_t, 4>;
using WordPair = Vector<std::uint32_t, 2>;

template <class T>
constexpr int kValuesPerWord = static_cast<int>(4 / sizeof(T));

template <class T>
__device__ inline float word_value(const Words& words, int i) {
  if constexpr (kValuesPerWord<T> == 2) {
    return to_float(std::bit_cast<Vector<T, 2>>(words[i / 2])[i % 2]);
  } else {
    return std::bit_cast<float>(words[i]);
  }
}

/// Adds up each of N values over the eight lanes; lane l gets the sums of values l * N / 8 and following in
/// its first N / 8 elements. In each of three steps a lane sends half of its remaining values to its partner
/// and adds what it receives to the other half. The order is fixed. All lanes of the warp must call it.
template <int kDistance = kChannelLanes / 2, int N>
__device__ inline void sum_over_channel_lanes(float (&values)[N]) {
  static_assert(N % kChannelLanes == 0);
  constexpr int kKept = N * kDistance / kChannelLanes;
  const bool upper = (threadIdx.x & kDistance) != 0;
#pragma unroll
  for (int i = 0; i < kKept; ++i) {
    const float given = upper ? values[i] : values[kKept + i];
    const float kept = upper ? values[kKept + i] : values[i];
    values[i] = kept + __shfl_xor_sync(kFullWarp, given, kDistance);
  }
  if constexpr (kDistance > 1) sum_over_channel_lanes<kDistance / 2>(values);
}

}  // namespace filterscope::kernels
