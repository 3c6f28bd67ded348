#pragma once

#include "../common/tensor_map.h"
#include "mbarrier.h"

/// Copies of boxes from device to shared memory by TMA (PTX ISA, cp.async.bulk.tensor; sm_90).
namespace filterscope::kernels::ptx {

/// Starts the copy of the box whose first element is at this row and column; called by one thread. `shared`
/// is aligned to 128 bytes. The rows of 128 bytes are consecutive and swizzled: 16-byte chunk c lies at c ^
/// (address / 128 % 8). Elements outside the matrix become zero; the row may be negative. The bytes of the
/// whole box complete on `barrier`.
__device__ inline void tma_load(void* shared, const TensorMap& map, int row, int column, void* barrier) {
#if defined(FILTERSCOPE_EMULATED)
  emulation::tma_load(shared, map, row, column, barrier);
#else
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, {%2, "
      "%3}], "
      "[%4];\n" ::"r"(shared_address(shared)),
      "l"(reinterpret_cast<std::uint64_t>(&map)), "r"(column), "r"(row), "r"(shared_address(barrier))
      : "memory");
#endif
}

/// The same for pairs of rows (make_pairs_tensor_map), the first of which starts at row `row`, an even
/// number.
__device__ inline void tma_load_pairs(void* shared, const TensorMap& map, int row, int column,
                                      void* barrier) {
#if defined(FILTERSCOPE_EMULATED)
  emulation::tma_load_pairs(shared, map, row, column, barrier);
#else
  asm volatile(
      "cp.async.bulk.tensor.3d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, {%2, "
      "%3, %4}], "
      "[%5];\n" ::"r"(shared_address(shared)),
      "l"(reinterpret_cast<std::uint64_t>(&map)), "r"(column), "r"(row % kGroupRows), "r"(row / kGroupRows),
      "r"(shared_address(barrier))
      : "memory");
#endif
}

/// Prefetches the tensor map itself.
__device__ inline void tma_prefetch(const TensorMap& map) {
#if defined(FILTERSCOPE_EMULATED)
  (void)map;
#else
  asm volatile("prefetch.tensormap [%0];\n" ::"l"(reinterpret_cast<std::uint64_t>(&map)) : "memory");
#endif
}

}  // namespace filterscope::kernels::ptx
