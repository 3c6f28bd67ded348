#include <bit>
#include <cmath>
#include <cstdint>

#include "device.h"

float __half2float(__half value) {
  const std::uint32_t sign = std::uint32_t{value.bits} >> 15 << 31;
  const std::uint32_t exponent = value.bits >> 10 & 31u;
  const std::uint32_t mantissa = value.bits & 1023u;
  if (exponent == 31) return std::bit_cast<float>(sign | 0x7f800000u | mantissa << 13);
  if (exponent == 0) {
    const float magnitude = std::ldexp(static_cast<float>(mantissa), -24);
    return sign != 0 ? -magnitude : magnitude;
  }
  return std::bit_cast<float>(sign | (exponent + 112) << 23 | mantissa << 13);
}

__half __float2half_rn(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  const auto sign = static_cast<std::uint16_t>(bits >> 31 << 15);
  const float magnitude = std::abs(value);
  if (std::isnan(value)) return {static_cast<std::uint16_t>(sign | 0x7fffu)};
  if (magnitude >= 65520.f)
    return {static_cast<std::uint16_t>(sign | 0x7c00u)};  // Rounds to more than 65504.
  // The exponent of binary16's spacing around the value; below 2^-14, it stays that of subnormals.
  const int exponent = magnitude < 0x1p-14f ? -14 : std::ilogb(magnitude);
  const float in_units = std::nearbyint(std::ldexp(magnitude, 10 - exponent));  // Ties to even; exact.
  const auto units = static_cast<std::uint32_t>(in_units);                      // At most 2048.
  const std::uint32_t biased =
      units < 1024 ? units : units + (static_cast<std::uint32_t>(exponent + 14) << 10);
  return {static_cast<std::uint16_t>(sign | biased)};
}

__nv_bfloat16 __float2bfloat16_rn(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  if (std::isnan(value)) return {0x7fff};
  return {static_cast<std::uint16_t>((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16)};
}
