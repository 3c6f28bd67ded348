#pragma once

#include "types.h"

namespace filterscope::kernels {

/// Combining functions of reductions.
struct Sum {
  template <class T>
  __device__ T operator()(T a, T b) const {
    return a + b;
  }
};
struct Minimum {
  __device__ float operator()(float a, float b) const { return b < a ? b : a; }
};
struct Maximum {
  __device__ float operator()(float a, float b) const { return b > a ? b : a; }
};

/// Reduces over the 32 lanes, in a fixed order; every lane gets the result. All lanes must call it.
template <class Combine, class T>
__device__ inline T warp_reduce(T value, Combine combine = {}) {
  for (int distance = kWarpSize / 2; distance > 0; distance /= 2) {
    value = combine(value, __shfl_xor_sync(kFullWarp, value, distance));
  }
  return value;
}

/// Bitwise OR over kLanes (a power of two) consecutive lanes, each of which gets the result. All lanes of the
/// warp must call it.
template <int kLanes>
__device__ inline std::uint32_t join_bits(std::uint32_t bits) {
  static_assert(kLanes <= kWarpSize && (kLanes & (kLanes - 1)) == 0);
  for (int distance = 1; distance < kLanes; distance *= 2) {
    bits |= __shfl_xor_sync(kFullWarp, bits, distance);
  }
  return bits;
}

/// Reduces over a one-dimensional block of kThreads (a multiple of 32), in a fixed order; every thread gets
/// the result. All threads must call it.
template <class Combine, int kThreads, class T>
__device__ inline T block_reduce(T value, Combine combine = {}) {
  static_assert(kThreads % kWarpSize == 0 && kThreads <= kWarpSize * kWarpSize);
  constexpr int kWarps = kThreads / kWarpSize;
  value = warp_reduce<Combine>(value, combine);
  if constexpr (kWarps > 1) {
    FILTERSCOPE_SHARED(T, warps, kWarps);
    __syncthreads();  // Readers of an earlier call are done.
    if (threadIdx.x % kWarpSize == 0) warps[threadIdx.x / kWarpSize] = value;
    __syncthreads();
    value = warps[0];
    for (int warp = 1; warp < kWarps; ++warp) value = combine(value, warps[warp]);
  }
  return value;
}

}  // namespace filterscope::kernels
