#pragma once

#include "../common/types.h"

/// Barriers in shared memory that count arriving threads and copied bytes (PTX ISA, mbarrier; sm_90). A phase
/// of a barrier completes once as many threads have arrived as it was initialised with and all bytes that
/// they announced have been copied; the next phase then begins.
namespace filterscope::kernels::ptx {

/// 8 bytes of shared memory, 8-byte aligned.
using MBarrier = std::uint64_t;

#if !defined(FILTERSCOPE_EMULATED)
__device__ inline std::uint32_t shared_address(const void* shared) {
  return static_cast<std::uint32_t>(__cvta_generic_to_shared(shared));
}
#endif

/// Called by one thread; mbarrier_init_fence() and __syncthreads() must follow before the barrier is used.
__device__ inline void mbarrier_init(void* barrier, int arrivals) {
#if defined(FILTERSCOPE_EMULATED)
  emulation::mbarrier_init(barrier, arrivals);
#else
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;\n" ::"r"(shared_address(barrier)), "r"(arrivals)
               : "memory");
#endif
}

/// Makes initialised barriers visible to copies.
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

/// Arrives and announces copies of `bytes` bytes in total.
__device__ inline void mbarrier_arrive_expecting(void* barrier, int bytes) {
#if defined(FILTERSCOPE_EMULATED)
  emulation::mbarrier_arrive(barrier, bytes);
#else
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;\n" ::"r"(shared_address(barrier)),
               "r"(bytes)
               : "memory");
#endif
}

/// Waits until a phase of this parity has completed. The first phase has parity 0, and the one before it
/// counts as completed, with parity 1. A wait of 2^35 clocks (some 20 seconds) can only be an error and
/// aborts the kernel.
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
