#pragma once

#include "../common/tensor_map.h"
#include "mbarrier.h"

/// Copies of boxes from device to shared memory by the copy engine (PTX ISA, cp.async.bulk.tensor; sm_90).
namespace filterscope::kernels::ptx {

/// Starts copying the box whose first element is in this row and column; one thread does so for all. `shared`
/// is aligned to 128 bytes; rows of 128 bytes follow each other, with their 16-byte chunks exchanged:
/// chunk c lies at c ^ (address / 128 % 8). Elements outside the matrix are zero; the row may be negative.
/// The bytes of the whole box arrive on `barrier`.
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

/// The same for pairs of rows (make_pairs_tensor_map), the first of which is in row `row`, an even one.
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

/// Fetches the map itself ahead of its first use.
__device__ inline void tma_prefetch(const TensorMap& map) {
#if defined(FILTERSCOPE_EMULATED)
  (void)map;
#else
  asm volatile("prefetch.tensormap [%0];\n" ::"l"(reinterpret_cast<std::uint64_t>(&map)) : "memory");
#endif
}

}  // namespace filterscope::kernels::ptx
