#pragma once

#include <cstdint>

#include "types.h"

#if !defined(FILTERSCOPE_EMULATED)
#include <cuda.h>
#endif

/// What the copy engine of an SM ("tensor memory accelerator", sm_90) has to know of a matrix in device
/// memory to copy boxes of it.
namespace filterscope::kernels {

#if defined(FILTERSCOPE_EMULATED)
using TensorMap = emulation::TensorMap;
#else
using TensorMap = CUtensorMap;
#endif

/// Bytes of a box's row.
constexpr int kBoxRowBytes = 128;

/// Of a matrix [rows][columns] of 16-bit elements without gaps, 16-byte aligned, whose columns are a multiple
/// of 64. A box has `box_rows` (at most 256) rows of 64 columns. Throws LaunchError.
TensorMap make_tensor_map(const Half* data, std::int64_t rows, std::int64_t columns, int box_rows);
TensorMap make_tensor_map(const Bfloat16* data, std::int64_t rows, std::int64_t columns, int box_rows);

/// The map of such a matrix whose rows form whole groups of eight: a box holds the same two rows of each of
/// `box_groups` (at most 128) consecutive groups.
constexpr int kGroupRows = 8;
TensorMap make_pairs_tensor_map(const Half* data, std::int64_t rows, std::int64_t columns, int box_groups);
TensorMap make_pairs_tensor_map(const Bfloat16* data, std::int64_t rows, std::int64_t columns,
                                int box_groups);

}  // namespace filterscope::kernels
