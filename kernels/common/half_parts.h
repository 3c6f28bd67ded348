#pragma once

#include <bit>
#include <cstdint>

#include "../first_layer/mapped_image.h"
#include "../ptx/convert.h"
#include "types.h"

/// fp32 values for tensor cores that multiply fp16: each is scaled by a power of two and split into two
/// parts, its rounding to fp16 and the remainder's. With `largest` the largest magnitude under one scale, the
/// sum of the parts is within 2^-22 of the value or 2^-39 of `largest`, whichever is greater; a `largest`
/// below 2^-46 counts as 2^-46.
namespace filterscope::kernels {

/// Binary exponent of the scale that brings `largest` into [2^14, 2^15), far enough below the end of fp16's
/// range that nothing rounds to infinity. At most 60, so that one factor can undo two scales.
__device__ inline int half_exponent(float largest) {
  const int exponent = static_cast<int>(std::bit_cast<std::uint32_t>(largest) >> 23) - 127;
  return 14 - max(exponent, -46);
}

/// 2^exponent, with the exponent clamped to [-126, 127].
__device__ inline float power_of_two(int exponent) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(min(max(exponent, -126), 127) + 127) << 23);
}

/// The high and low parts of two values; the first value is in the lower halves.
struct HalfParts {
  std::uint32_t high;
  std::uint32_t low;
};
__device__ inline HalfParts half_parts(float first, float second) {
  const std::uint32_t high = ptx::round_pair<Half>(first, second);
  const auto halves = std::bit_cast<Vector<Half, 2>>(high);
  return {high, ptx::round_pair<Half>(first - to_float(halves[0]), second - to_float(halves[1]))};
}

}  // namespace filterscope::kernels
