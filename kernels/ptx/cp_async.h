#pragma once

#include "../common/types.h"

/// Asynchronous copies from global to shared memory (PTX ISA, cp.async; sm_80 and later).
namespace filterscope::kernels::ptx {

/// Starts a copy of 16 bytes to shared memory, both addresses 16-byte aligned; where `valid` is false,
/// nothing is read and the 16 bytes become zero. Bypasses L1.
__device__ inline void cp_async_16(void* shared, const void* global, bool valid) {
#if defined(FILTERSCOPE_EMULATED)
  emulation::cp_async(shared, global, 16, valid);
#else
  const auto address = static_cast<std::uint32_t>(__cvta_generic_to_shared(shared));
  asm volatile(
      "{\n"
      "  .reg .pred absent;\n"
      "  setp.eq.s32 absent, %2, 0;\n"
      "  cp.async.cg.shared.global [%0], [%1], 16, absent;\n"
      "}\n" ::"r"(address),
      "l"(global), "r"(static_cast<int>(valid)));
#endif
}

/// The same with 8 bytes, both addresses 8-byte aligned, through L1.
__device__ inline void cp_async_8(void* shared, const void* global, bool valid) {
#if defined(FILTERSCOPE_EMULATED)
  emulation::cp_async(shared, global, 8, valid);
#else
  const auto address = static_cast<std::uint32_t>(__cvta_generic_to_shared(shared));
  asm volatile(
      "{\n"
      "  .reg .pred absent;\n"
      "  setp.eq.s32 absent, %2, 0;\n"
      "  cp.async.ca.shared.global [%0], [%1], 8, absent;\n"
      "}\n" ::"r"(address),
      "l"(global), "r"(static_cast<int>(valid)));
#endif
}

/// cp_async_16 where `wanted` is true; otherwise it does nothing, whatever the addresses.
__device__ inline void cp_async_16_if(bool wanted, void* shared, const void* global, bool valid) {
#if defined(FILTERSCOPE_EMULATED)
  if (wanted) emulation::cp_async(shared, global, 16, valid);
#else
  const auto address = static_cast<std::uint32_t>(__cvta_generic_to_shared(shared));
  asm volatile(
      "{\n"
      "  .reg .pred absent, wanted;\n"
      "  setp.eq.s32 absent, %2, 0;\n"
      "  setp.ne.s32 wanted, %3, 0;\n"
      "  @wanted cp.async.cg.shared.global [%0], [%1], 16, absent;\n"
      "}\n" ::"r"(address),
      "l"(global), "r"(static_cast<int>(valid)), "r"(static_cast<int>(wanted)));
#endif
}

/// Closes the group of the copies that this thread has started since its last group.
__device__ inline void cp_async_commit() {
#if defined(FILTERSCOPE_EMULATED)
  emulation::cp_async_commit();
#else
  asm volatile("cp.async.commit_group;\n" ::);
#endif
}

/// Waits until at most kPending of this thread's groups are in flight. Other threads' copies need a barrier
/// as well.
template <int kPending>
__device__ inline void cp_async_wait() {
#if defined(FILTERSCOPE_EMULATED)
  emulation::cp_async_wait(kPending);
#else
  asm volatile("cp.async.wait_group %0;\n" ::"n"(kPending));
#endif
}

}  // namespace filterscope::kernels::ptx
