#pragma once

#include <type_traits>

#include "../common/types.h"
#include "mbarrier.h"

/// Matrix products of four warps, which go on while the threads do other things (PTX ISA, wgmma; sm_90a).
///
/// wgmma_fence() comes first whenever a thread has written registers that a product reads or adds to;
/// products are put into groups by wgmma_commit(); until wgmma_wait() says that a group is done, its sums
/// must not be touched, nor its operands changed. All 128 threads of a warpgroup take part.
namespace filterscope::kernels::ptx {

__device__ inline void wgmma_fence() {
#if defined(FILTERSCOPE_EMULATED)
  emulation::wgmma_fence();
#else
  asm volatile("wgmma.fence.sync.aligned;\n" ::: "memory");
#endif
}

/// Closes the group of the products started since the last one.
__device__ inline void wgmma_commit() {
#if defined(FILTERSCOPE_EMULATED)
  emulation::wgmma_commit();
#else
  asm volatile("wgmma.commit_group.sync.aligned;\n" ::: "memory");
#endif
}

/// Waits until at most kPending groups are not done.
template <int kPending>
__device__ inline void wgmma_wait() {
#if defined(FILTERSCOPE_EMULATED)
  emulation::wgmma_wait(kPending);
#else
  asm volatile("wgmma.wait_group.sync.aligned %0;\n" ::"n"(kPending) : "memory");
#endif
}

/// After the last wait: keeps the compiler from reading sums ahead of it.
template <int N>
__device__ inline void wgmma_done([[maybe_unused]] float (&sums)[N]) {
#if !defined(FILTERSCOPE_EMULATED)
#pragma unroll
  for (int i = 0; i < N; ++i) asm volatile("" : "+f"(sums[i])::"memory");
#endif
}

/// Where in shared memory a matrix of columns of 64 elements lies, and how: column n is the row of 128 bytes
/// at `shared` + 128 n, with its chunks exchanged as tma_load() does. `shared` is aligned to 1024 bytes. Of
/// the column a product takes 16 elements; those from 16 k on have descriptor + kDescriptorStep * k.
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

/// sums = A B, or sums += A B where `add` is true, with A 64x16 from registers, B 16xN from shared memory and
/// float sums, T Half or Bfloat16, N = 2 kSums either 64 or 128. Warp w of the warpgroup holds rows 16 w to
/// 16 w + 15; with group = lane / 4 and pair = 2 (lane % 4), a lane holds, relative to those, two elements to
/// a register and the first in the low half:
///   a[0]: row group,     columns pair, pair + 1        a[2]: row group,     columns pair + 8, pair + 9
///   a[1]: row group + 8, columns pair, pair + 1        a[3]: row group + 8, columns pair + 8, pair + 9
///   sums[4 j], [4 j + 1]: row group, columns 8 j + pair, 8 j + pair + 1
///   sums[4 j + 2], [4 j + 3]: the same of row group + 8
template <class T, int kSums>
__device__ inline void wgmma_m64k16(float (&sums)[kSums], const std::uint32_t (&a)[4], std::uint64_t b,
                                    bool add) {
  static_assert(kSums == 32 || kSums == 64);
  static_assert(std::is_same_v<T, Half> || std::is_same_v<T, Bfloat16>, "wgmma takes Half and Bfloat16");
#if defined(FILTERSCOPE_EMULATED)
  emulation::wgmma_m64k16<T>(sums, kSums, a, b, add);
#else
// clang-format off
#define FILTERSCOPE_WGMMA_N64(type) \
  asm volatile( \
      "{\n.reg .pred add;\nsetp.ne.b32 add, %37, 0;\n" \
      "wgmma.mma_async.sync.aligned.m64n64k16.f32." type "." type " {" \
      "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, " \
      "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31}, " \
      "{%32, %33, %34, %35}, %36, add, 1, 1, 0;\n}\n" \
      : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3]), \
        "+f"(sums[4]), "+f"(sums[5]), "+f"(sums[6]), "+f"(sums[7]), \
        "+f"(sums[8]), "+f"(sums[9]), "+f"(sums[10]), "+f"(sums[11]), \
        "+f"(sums[12]), "+f"(sums[13]), "+f"(sums[14]), "+f"(sums[15]), \
        "+f"(sums[16]), "+f"(sums[17]), "+f"(sums[18]), "+f"(sums[19]), \
        "+f"(sums[20]), "+f"(sums[21]), "+f"(sums[22]), "+f"(sums[23]), \
        "+f"(sums[24]), "+f"(sums[25]), "+f"(sums[26]), "+f"(sums[27]), \
        "+f"(sums[28]), "+f"(sums[29]), "+f"(sums[30]), "+f"(sums[31]) \
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
      : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3]), \
        "+f"(sums[4]), "+f"(sums[5]), "+f"(sums[6]), "+f"(sums[7]), \
        "+f"(sums[8]), "+f"(sums[9]), "+f"(sums[10]), "+f"(sums[11]), \
        "+f"(sums[12]), "+f"(sums[13]), "+f"(sums[14]), "+f"(sums[15]), \
        "+f"(sums[16]), "+f"(sums[17]), "+f"(sums[18]), "+f"(sums[19]), \
        "+f"(sums[20]), "+f"(sums[21]), "+f"(sums[22]), "+f"(sums[23]), \
        "+f"(sums[24]), "+f"(sums[25]), "+f"(sums[26]), "+f"(sums[27]), \
        "+f"(sums[28]), "+f"(sums[29]), "+f"(sums[30]), "+f"(sums[31]), \
        "+f"(sums[32]), "+f"(sums[33]), "+f"(sums[34]), "+f"(sums[35]), \
        "+f"(sums[36]), "+f"(sums[37]), "+f"(sums[38]), "+f"(sums[39]), \
        "+f"(sums[40]), "+f"(sums[41]), "+f"(sums[42]), "+f"(sums[43]), \
        "+f"(sums[44]), "+f"(sums[45]), "+f"(sums[46]), "+f"(sums[47]), \
        "+f"(sums[48]), "+f"(sums[49]), "+f"(sums[50]), "+f"(sums[51]), \
        "+f"(sums[52]), "+f"(sums[53]), "+f"(sums[54]), "+f"(sums[55]), \
        "+f"(sums[56]), "+f"(sums[57]), "+f"(sums[58]), "+f"(sums[59]), \
        "+f"(sums[60]), "+f"(sums[61]), "+f"(sums[62]), "+f"(sums[63]) \
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(static_cast<int>(add)))
  // clang-format on
  if constexpr (kSums == 32 && std::is_same_v<T, Half>) {
    FILTERSCOPE_WGMMA_N64("f16");
  } else if constexpr (kSums == 32) {
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
