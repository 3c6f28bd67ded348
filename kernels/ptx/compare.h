#pragma once

#include "../common/types.h"

/// Comparisons of two 16-bit values in one instruction (PTX ISA, set).
namespace filterscope::kernels::ptx {

/// Sets all bits of each half that is not zero, of either sign. The halves may be Half or Bfloat16, whose
/// zeros are the same.
__device__ inline std::uint32_t nonzero_pair(std::uint32_t pair) {
#if defined(FILTERSCOPE_EMULATED)
  return ((pair & 0x00007fffu) != 0 ? 0x0000ffffu : 0) | ((pair & 0x7fff0000u) != 0 ? 0xffff0000u : 0);
#else
  std::uint32_t mask;
  asm("set.neu.u32.f16x2 %0, %1, %2;\n" : "=r"(mask) : "r"(pair), "r"(0));
  return mask;
#endif
}

}  // namespace filterscope::kernels::ptx
