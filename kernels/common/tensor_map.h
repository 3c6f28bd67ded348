#pragma once

#include <cstdint>

#include "types.h"

#if !defined(FILTERSCOPE_EMULATED)
#include <cuda.h>
#endif

/// Tensor maps: the description of a matrix in device memory from which the tensor memory accelerator (TMA,
/// sm_90) copies boxes.
namespace filterscope::kernels {

#if defined(FILTERSCOPE_EMULATED)
using TensorMap = emulation::TensorMap;
#else
using TensorMap = CUtensorMap;
#endif

/// Bytes in a row of a box.
constexpr int kBoxRowBytes = 128;

/// The map of a matrix [rows][columns] of contiguous 16-bit elements, 16-byte aligned, with a multiple of 64
/// columns. A box has `box_rows` (at most 256) rows of 64 columns. Throws LaunchError.
TensorMap make_tensor_map(const Half* data, std::int64_t rows, std::int64_t columns, int box_rows);
TensorMap make_tensor_map(const Bfloat16* data, std::int64_t rows, std::int64_t columns, int box_rows);

/// The map of such a matrix whose rows form whole groups of eight: a box holds the same two rows of each of
/// `box_groups` (at most 128) consecutive groups. Throws LaunchError.
constexpr int kGroupRows = 8;
TensorMap make_pairs_tensor_map(const Half* data, std::int64_t rows, std::int64_t columns, int box_groups);
TensorMap make_pairs_tensor_map(const Bfloat16* data, std::int64_t rows, std::int64_t columns,
                                int box_groups);

}  // namespace filterscope::kernels
