#pragma once

#include "../common/types.h"

/// Reallocation of registers between warpgroups (PTX ISA, setmaxnreg; sm_90a). All threads of a warpgroup
/// pass the same number per thread, a multiple of 8.
namespace filterscope::kernels::ptx {

constexpr int kMinRegisters = 24;
constexpr int kMaxRegisters = 256;  // 255 of them can be named.

template <int kRegisters>
__device__ inline void warpgroup_reg_dealloc() {
#if !defined(FILTERSCOPE_EMULATED)
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;\n" ::"n"(kRegisters));
#endif
}

/// Waits until other warpgroups have released enough registers.
template <int kRegisters>
__device__ inline void warpgroup_reg_alloc() {
#if !defined(FILTERSCOPE_EMULATED)
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;\n" ::"n"(kRegisters));
#endif
}

}  // namespace filterscope::kernels::ptx
