#pragma once

#include "types.h"

namespace filterscope::kernels {

/// What combines two values of a reduction.
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

/// The combination over the 32 lanes, in every lane; the order is fixed. All lanes must call it.
template <class Combine, class T>
__device__ inline T warp_reduce(T value, Combine combine = {}) {
  for (int distance = kWarpSize / 2; distance > 0; distance /= 2) {
    value = combine(value, __shfl_xor_sync(kFullWarp, value, distance));
  }
  return value;
}

/// The bits that any of kLanes (a power of two) consecutive lanes has, in every one of them. All lanes of the
/// warp must call it.
template <int kLanes>
__device__ inline std::uint32_t join_bits(std::uint32_t bits) {
  static_assert(kLanes <= kWarpSize && (kLanes & (kLanes - 1)) == 0);
  for (int distance = 1; distance < kLanes; distance *= 2) {
    bits |= __shfl_xor_sync(kFullWarp, bits, distance);
  }
  return bits;
}

/// The combination over all threads of a block of kThreads (a multiple of 32, one-dimensional), in every
/// thread; the order is fixed. All threads must call it.
template <class Combine, int kThreads, class T>
__device__ inline T block_reduce(T value, Combine combine = {}) {
  static_assert(kThreads % kWarpSize == 0 && kThreads <= kWarpSize * kWarpSize);
  constexpr int kWarps = kThreads / kWarpSize;
  value = warp_reduce<Combine>(value, combine);
  if constexpr (kWarps > 1) {
    FILTERSCOPE_SHARED(T, warps, kWarps);
    __syncthreads();  // An earlier call's readers are done.
    if (threadIdx.x % kWarpSize == 0) warps[threadIdx.x / kWarpSize] = value;
    __syncthreads();
    value = warps[0];
    for (int warp = 1; warp < kWarps; ++warp) value = combine(value, warps[warp]);
  }
  return value;
}

}  // namespace filterscope::kernels
