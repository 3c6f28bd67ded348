#pragma once

#include "../common/types.h"

/// Barriers in shared memory on which copies arrive as threads do (PTX ISA, mbarrier; sm_90). A barrier
/// counts phases. A phase is over when as many threads have arrived as it was initialised with and as many
/// bytes as they announced; the next one then begins.
namespace filterscope::kernels::ptx {

/// 8 bytes of shared memory, 8-byte aligned.
using MBarrier = std::uint64_t;

#if !defined(FILTERSCOPE_EMULATED)
__device__ inline std::uint32_t shared_address(const void* shared) {
  return static_cast<std::uint32_t>(__cvta_generic_to_shared(shared));
}
#endif

/// By one thread, before anybody uses the barrier: mbarrier_init_fence() and __syncthreads() lie between.
__device__ inline void mbarrier_init(void* barrier, int arrivals) {
#if defined(FILTERSCOPE_EMULATED)
  emulation::mbarrier_init(barrier, arrivals);
#else
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;\n" ::"r"(shared_address(barrier)), "r"(arrivals)
               : "memory");
#endif
}

/// Makes initialised barriers known to copies.
__device__ inline void mbarrier_init_fence() {
#if !defined(FILTERSCOPE_EMULATED)
  asm volatile("fence.mbarrier_init.release.cluster;\n" ::: "memory");
#endif
}

__device__ inline void mbarrier_arrive(void* barrier) {
#if defined(FILTERSCOPE_EMULATED)
  emulation::mbarrier_arrive(barrier, 0);
#else
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];\n" ::"r"(shared_address(barrier)) : "memory");
#endif
}

/// Arrives, and announces copies of so many bytes in all.
__device__ inline void mbarrier_arrive_expecting(void* barrier, int bytes) {
#if defined(FILTERSCOPE_EMULATED)
  emulation::mbarrier_arrive(barrier, bytes);
#else
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;\n" ::"r"(shared_address(barrier)),
               "r"(bytes)
               : "memory");
#endif
}

/// Waits until a phase with this parity is over: the first phase has parity 0, and before it one with parity
/// 1 counts as over. A wait of 2^35 clocks (some 20 seconds) is a mistake, and stops the kernel with an
/// error.
__device__ inline void mbarrier_wait(void* barrier, int parity) {
#if defined(FILTERSCOPE_EMULATED)
  emulation::mbarrier_wait(barrier, parity);
#else
  const auto over = [address = shared_address(barrier), parity] {
    std::uint32_t result;
    asm volatile(
        "{\n"
        "  .reg .pred over;\n"
        "  mbarrier.try_wait.parity.shared::cta.b64 over, [%1], %2;\n"
        "  selp.u32 %0, 1, 0, over;\n"
        "}\n"
        : "=r"(result)
        : "r"(address), "r"(parity)
        : "memory");
    return result != 0;
  };
  if (over()) return;
  const long long start = clock64();
  while (!over()) {
    if (clock64() - start > 1LL << 35) __trap();
  }
#endif
}

}  // namespace filterscope::kernels::ptx
