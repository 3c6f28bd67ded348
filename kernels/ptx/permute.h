#pragma once

#include "../common/types.h"

/// Selection of bytes from two words (PTX ISA, prmt).
namespace filterscope::kernels::ptx {

/// Sets all bits of the low half if the top bit of byte kByte of `low` is set, and of the high half if that
/// of `high` is.
template <int kByte>
__device__ inline std::uint32_t spread_top_bits(std::uint32_t low, std::uint32_t high) {
  static_assert(kByte >= 0 && kByte < 4);
#if defined(FILTERSCOPE_EMULATED)
  constexpr std::uint32_t kBit = 0x80u << 8 * kByte;
  return ((low & kBit) != 0 ? 0x0000ffffu : 0) | ((high & kBit) != 0 ? 0xffff0000u : 0);
#else
  constexpr unsigned kSign = 8;  // Selects eight copies of the byte's top bit instead of the byte.
  constexpr unsigned kSelector = (kSign + kByte) * 0x0011u + (kSign + 4 + kByte) * 0x1100u;
  std::uint32_t mask;
  asm("prmt.b32 %0, %1, %2, %3;\n" : "=r"(mask) : "r"(low), "r"(high), "n"(kSelector));
  return mask;
#endif
}

}  // namespace filterscope::kernels::ptx
