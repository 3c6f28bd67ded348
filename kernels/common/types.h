#pragma once

#include <cstdint>

#include "platform.h"

namespace filterscope::kernels {

using Half = __half;             ///< IEEE binary16.
using Bfloat16 = __nv_bfloat16;  ///< The upper half of a float.

constexpr int kWarpSize = 32;
constexpr unsigned kFullWarp = 0xffffffffu;

/// N elements that one instruction loads or stores, at most 16 bytes.
template <class T, int N>
struct alignas(sizeof(T) * N) Vector {
  static_assert(sizeof(T) * N <= 16 && (N & (N - 1)) == 0, "an access has 1, 2, 4, 8 or 16 bytes");
  T values[N];

  __host__ __device__ T& operator[](int i) { return values[i]; }
  __host__ __device__ const T& operator[](int i) const { return values[i]; }
};

__host__ __device__ inline float to_float(float value) {
  return value;
}
__host__ __device__ inline float to_float(Half value) {
  return __half2float(value);
}
__host__ __device__ inline float to_float(Bfloat16 value) {
  return __bfloat162float(value);
}

/// Rounds to nearest, ties to even; beyond the range of Half, to infinity.
template <class T>
__host__ __device__ inline T from_float(float value);
template <>
__host__ __device__ inline float from_float<float>(float value) {
  return value;
}
template <>
__host__ __device__ inline Half from_float<Half>(float value) {
  return __float2half_rn(value);
}
template <>
__host__ __device__ inline Bfloat16 from_float<Bfloat16>(float value) {
  return __float2bfloat16_rn(value);
}

template <class Integer>
__host__ __device__ constexpr Integer ceil_div(Integer value, Integer by) {
  return (value + by - 1) / by;
}

}  // namespace filterscope::kernels
