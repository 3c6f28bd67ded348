#pragma once

#include "../common/types.h"

/// Loads of 8x8 matrices of 16-bit elements from shared memory into the fragments of mma (PTX ISA, ldmatrix).
namespace filterscope::kernels::ptx {

/// Loads four matrices. Lane 8 j + i passes the address of row i (16 bytes, 16-byte aligned) of matrix j;
/// fragment[j] of lane l becomes elements 2 (l % 4) and 2 (l % 4) + 1 of row l / 4 of matrix j, the first in
/// the low half.
__device__ inline void ldmatrix_x4(std::uint32_t (&fragment)[4], const void* row) {
#if defined(FILTERSCOPE_EMULATED)
  emulation::ldmatrix(fragment, row, false);
#else
  const auto address = static_cast<std::uint32_t>(__cvta_generic_to_shared(row));
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];\n"
               : "=r"(fragment[0]), "=r"(fragment[1]), "=r"(fragment[2]), "=r"(fragment[3])
               : "r"(address));
#endif
}

/// The same with each matrix transposed: fragment[j] of lane l becomes column l / 4 of rows 2 (l % 4) and
/// 2 (l % 4) + 1.
__device__ inline void ldmatrix_x4_transposed(std::uint32_t (&fragment)[4], const void* row) {
#if defined(FILTERSCOPE_EMULATED)
  emulation::ldmatrix(fragment, row, true);
#else
  const auto address = static_cast<std::uint32_t>(__cvta_generic_to_shared(row));
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];\n"
               : "=r"(fragment[0]), "=r"(fragment[1]), "=r"(fragment[2]), "=r"(fragment[3])
               : "r"(address));
#endif
}

}  // namespace filterscope::kernels::ptx
