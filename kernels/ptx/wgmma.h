#pragma once

#include <type_traits>

#include "../common/types.h"
#include "mbarrier.h"

/// Asynchronous matrix products of a warpgroup, four warps (PTX ISA, wgmma; sm_90a).
///
/// wgmma_fence() must precede the first product after the threads have written its operand or accumulator
/// registers. wgmma_commit() closes a group of products; until wgmma_wait() returns for it, its accumulators
/// must not be accessed, nor its operands changed. All 128 threads of a warpgroup take part.
namespace filterscope::kernels::ptx {

__device__ inline void wgmma_fence() {
#if defined(FILTERSCOPE_EMULATED)
  emulation::wgmma_fence();
#else
  asm volatile("wgmma.fence.sync.aligned;\n" ::: "memory");
#endif
}

/// Closes the group of the products started since the last group.
__device__ inline void wgmma_commit() {
#if defined(FILTERSCOPE_EMULATED)
  emulation::wgmma_commit();
#else
  asm volatile("wgmma.commit_group.sync.aligned;\n" ::: "memory");
#endif
}

/// Waits until at most kPending groups are in flight.
template <int kPending>
__device__ inline void wgmma_wait() {
#if defined(FILTERSCOPE_EMULATED)
  emulation::wgmma_wait(kPending);
#else
  asm volatile("wgmma.wait_group.sync.aligned %0;\n" ::"n"(kPending) : "memory");
#endif
}

/// Called after the last wait; keeps the compiler from reading the accumulators before it.
template <int N>
__device__ inline void wgmma_done([[maybe_unused]] float (&d)[N]) {
#if !defined(FILTERSCOPE_EMULATED)
#pragma unroll
  for (int i = 0; i < N; ++i) asm volatile("" : "+f"(d[i])::"memory");
#endif
}

/// Descriptor of a matrix in shared memory whose columns have 64 elements: column n is the row of 128 bytes
/// at `shared` + 128 n, swizzled as by tma_load(). `shared` is aligned to 1024 bytes. A product reads 16
/// elements of each column; for those from 16 k on pass descriptor + kDescriptorStep * k.
__device__ inline std::uint64_t wgmma_descriptor(const void* shared) {
#if defined(FILTERSCOPE_EMULATED)
  const std::uint64_t address = emulation::shared_address(shared);
#else
  const std::uint64_t address = shared_address(shared);
#endif
  constexpr std::uint64_t kUnused = 1;                // Offset of the next 128 bytes of a column: none.
  constexpr std::uint64_t kEightColumns = 1024 >> 4;  // Offset from eight columns to the next eight.
  constexpr std::uint64_t kSwizzle128 = 1;
  return (address & 0x3ffff) >> 4 | kUnused << 16 | kEightColumns << 32 | kSwizzle128 << 62;
}
constexpr std::uint64_t kDescriptorStep = 16 * 2 >> 4;

/// d = A B, or d += A B where `add` is true, with A 64x16 from registers, B 16xN from shared memory and
/// float accumulators d, T Half or Bfloat16, N = 2 kAccumulators either 64 or 128. Warp w of the warpgroup
/// holds rows 16 w to 16 w + 15; with group = lane / 4 and pair = 2 (lane % 4), a lane holds, relative to
/// those, two elements to a register and the first in the low half:
///   a[0]: row group,     columns pair, pair + 1        a[2]: row group,     columns pair + 8, pair + 9
///   a[1]: row group + 8, columns pair, pair + 1        a[3]: row group + 8, columns pair + 8, pair + 9
///   d[4 j], [4 j + 1]: row group, columns 8 j + pair, 8 j + pair + 1
///   d[4 j + 2], [4 j + 3]: the same of row group + 8
template <class T, int kAccumulators>
__device__ inline void wgmma_m64k16(float (&d)[kAccumulators], const std::uint32_t (&a)[4], std::uint64_t b,
                                    bool add) {
  static_assert(kAccumulators == 32 || kAccumulators == 64);
  static_assert(std::is_same_v<T, Half> || std::is_same_v<T, Bfloat16>, "wgmma takes Half and Bfloat16");
#if defined(FILTERSCOPE_EMULATED)
  emulation::wgmma_m64k16<T>(d, kAccumulators, a, b, add);
#else
// clang-format off
#define FILTERSCOPE_WGMMA_N64(type) \
  asm volatile( \
      "{\n.reg .pred add;\nsetp.ne.b32 add, %37, 0;\n" \
      "wgmma.mma_async.sync.aligned.m64n64k16.f32." type "." type " {" \
      "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, " \
      "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31}, " \
      "{%32, %33, %34, %35}, %36, add, 1, 1, 0;\n}\n" \
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), \
        "+f"(d[4]), "+f"(d[5]), "+f"(d[6]), "+f"(d[7]), \
        "+f"(d[8]), "+f"(d[9]), "+f"(d[10]), "+f"(d[11]), \
        "+f"(d[12]), "+f"(d[13]), "+f"(d[14]), "+f"(d[15]), \
        "+f"(d[16]), "+f"(d[17]), "+f"(d[18]), "+f"(d[19]), \
        "+f"(d[20]), "+f"(d[21]), "+f"(d[22]), "+f"(d[23]), \
        "+f"(d[24]), "+f"(d[25]), "+f"(d[26]), "+f"(d[27]), \
        "+f"(d[28]), "+f"(d[29]), "+f"(d[30]), "+f"(d[31]) \
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(static_cast<int>(add)))
// clang-format on
// clang-format off
#define FILTERSCOPE_WGMMA_N128(type) \
  asm volatile( \
      "{\n.reg .pred add;\nsetp.ne.b32 add, %69, 0;\n" \
      "wgmma.mma_async.sync.aligned.m64n128k16.f32." type "." type " {" \
      "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, " \
      "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, " \
      "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, " \
      "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63}, " \
      "{%64, %65, %66, %67}, %68, add, 1, 1, 0;\n}\n" \
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), \
        "+f"(d[4]), "+f"(d[5]), "+f"(d[6]), "+f"(d[7]), \
        "+f"(d[8]), "+f"(d[9]), "+f"(d[10]), "+f"(d[11]), \
        "+f"(d[12]), "+f"(d[13]), "+f"(d[14]), "+f"(d[15]), \
        "+f"(d[16]), "+f"(d[17]), "+f"(d[18]), "+f"(d[19]), \
        "+f"(d[20]), "+f"(d[21]), "+f"(d[22]), "+f"(d[23]), \
        "+f"(d[24]), "+f"(d[25]), "+f"(d[26]), "+f"(d[27]), \
        "+f"(d[28]), "+f"(d[29]), "+f"(d[30]), "+f"(d[31]), \
        "+f"(d[32]), "+f"(d[33]), "+f"(d[34]), "+f"(d[35]), \
        "+f"(d[36]), "+f"(d[37]), "+f"(d[38]), "+f"(d[39]), \
        "+f"(d[40]), "+f"(d[41]), "+f"(d[42]), "+f"(d[43]), \
        "+f"(d[44]), "+f"(d[45]), "+f"(d[46]), "+f"(d[47]), \
        "+f"(d[48]), "+f"(d[49]), "+f"(d[50]), "+f"(d[51]), \
        "+f"(d[52]), "+f"(d[53]), "+f"(d[54]), "+f"(d[55]), \
        "+f"(d[56]), "+f"(d[57]), "+f"(d[58]), "+f"(d[59]), \
        "+f"(d[60]), "+f"(d[61]), "+f"(d[62]), "+f"(d[63]) \
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(static_cast<int>(add)))
  // clang-format on
  if constexpr (kAccumulators == 32 && std::is_same_v<T, Half>) {
    FILTERSCOPE_WGMMA_N64("f16");
  } else if constexpr (kAccumulators == 32) {
    FILTERSCOPE_WGMMA_N64("bf16");
  } else if constexpr (std::is_same_v<T, Half>) {
    FILTERSCOPE_WGMMA_N128("f16");
  } else {
    FILTERSCOPE_WGMMA_N128("bf16");
  }
#undef FILTERSCOPE_WGMMA_N64
#undef FILTERSCOPE_WGMMA_N128
#endif
}

}  // namespace filterscope::kernels::ptx
