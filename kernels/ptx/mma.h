#pragma once

#include <type_traits>

#include "../common/types.h"

/// Matrix products of one warp on tensor cores (PTX ISA, mma.sync; sm_80 and later).
namespace filterscope::kernels::ptx {

/// d += A B with A 16x16 (row-major), B 16x8 (column-major) and float accumulators d 16x8, T Half or
/// Bfloat16. With group = lane / 4 and pair = 2 (lane % 4), a lane holds, two elements to a register and the
/// first in the low half:
///   a[0]: row group,     columns pair, pair + 1        a[2]: row group,     columns pair + 8, pair + 9
///   a[1]: row group + 8, columns pair, pair + 1        a[3]: row group + 8, columns pair + 8, pair + 9
///   b[0]: rows pair, pair + 1 of column group          b[1]: rows pair + 8, pair + 9 of column group
///   d[0], [1]: row group, columns pair, pair + 1    d[2], [3]: row group + 8
template <class T>
__device__ inline void mma_m16n8k16(float (&d)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2]) {
#if defined(FILTERSCOPE_EMULATED)
  emulation::mma_m16n8k16<T>(d, a, b);
#else
  if constexpr (std::is_same_v<T, Half>) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};\n"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
  } else {
    static_assert(std::is_same_v<T, Bfloat16>, "mma.m16n8k16 takes Half and Bfloat16");
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};\n"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
  }
#endif
}

}  // namespace filterscope::kernels::ptx
