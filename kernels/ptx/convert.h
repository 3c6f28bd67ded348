#pragma once

#include "../common/types.h"

/// Rounding of two values, with or without ReLU, in one instruction (PTX ISA, cvt and max; sm_80 and later).
/// NaN stays NaN.
namespace filterscope::kernels::ptx {

/// max(value, +0)
__device__ inline float relu(float value) {
#if defined(FILTERSCOPE_EMULATED)
  return value <= 0.f ? 0.f : value;
#else
  float result;
  asm("max.NaN.f32 %0, %1, 0f00000000;\n" : "=f"(result) : "f"(value));
  return result;
#endif
}

/// The ReLUs of both values rounded to T (Half, Bfloat16), `low` in the lower half of the word. A negative
/// value that rounds to zero may become -0, since the PTX ISA only says that negative results become 0; in
/// the emulation it does.
template <class T>
__device__ inline std::uint32_t relu_pair(float low, float high) {
#if defined(FILTERSCOPE_EMULATED)
  const auto rounded = [](float value) -> std::uint32_t {
    constexpr std::uint16_t kMinusZero = 0x8000;
    return from_float<T>(value).bits == kMinusZero ? kMinusZero : from_float<T>(relu(value)).bits;
  };
  return rounded(low) | rounded(high) << 16;
#else
  std::uint32_t pair;
  if constexpr (std::is_same_v<T, Half>) {
    asm("cvt.rn.relu.f16x2.f32 %0, %1, %2;\n" : "=r"(pair) : "f"(high), "f"(low));
  } else {
    static_assert(std::is_same_v<T, Bfloat16>);
    asm("cvt.rn.relu.bf16x2.f32 %0, %1, %2;\n" : "=r"(pair) : "f"(high), "f"(low));
  }
  return pair;
#endif
}

/// Both values rounded to T (Half, Bfloat16), `low` in the lower half of the word.
template <class T>
__device__ inline std::uint32_t round_pair(float low, float high) {
#if defined(FILTERSCOPE_EMULATED)
  return std::uint32_t{from_float<T>(low).bits} | std::uint32_t{from_float<T>(high).bits} << 16;
#else
  std::uint32_t pair;
  if constexpr (std::is_same_v<T, Half>) {
    asm("cvt.rn.f16x2.f32 %0, %1, %2;\n" : "=r"(pair) : "f"(high), "f"(low));
  } else {
    static_assert(std::is_same_v<T, Bfloat16>);
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;\n" : "=r"(pair) : "f"(high), "f"(low));
  }
  return pair;
#endif
}

}  // namespace filterscope::kernels::ptx
