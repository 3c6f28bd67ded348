#pragma once

#include "../common/types.h"

/// Registers handed from warps that need few to warps that need many (PTX ISA, setmaxnreg; sm_90a). All
/// threads of a warpgroup ask for the same number, a multiple of 8; giving comes before taking.
namespace filterscope::kernels::ptx {

constexpr int kFewestRegisters = 24;
constexpr int kMostRegisters = 256;  // Of which 255 can be named.

template <int kRegisters>
__device__ inline void warpgroup_reg_dealloc() {
#if !defined(FILTERSCOPE_EMULATED)
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;\n" ::"n"(kRegisters));
#endif
}

/// Waits until they are there.
template <int kRegisters>
__device__ inline void warpgroup_reg_alloc() {
#if !defined(FILTERSCOPE_EMULATED)
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;\n" ::"n"(kRegisters));
#endif
}

}  // namespace filterscope::kernels::ptx
