#include "tensor_map.h"

#include <array>
#include <string>
#include <type_traits>

#include "launch.h"

namespace filterscope::kernels {
namespace {

/// Contents of a box: consecutive rows, or one pair of rows from each of consecutive groups.
enum class Boxes { rows, pairs };

#if defined(FILTERSCOPE_EMULATED)

template <class T>
TensorMap make(const T* data, std::int64_t rows, std::int64_t columns, Boxes boxes, int count) {
  static_assert(sizeof(T) == sizeof(std::uint16_t));
  const emulation::Bounds bounds = emulation::bounds_of(data);
  if (reinterpret_cast<const std::byte*>(data + rows * columns) > bounds.end) {
    throw LaunchError("a tensor map reaches beyond the end of an allocation");
  }
  const bool pairs = boxes == Boxes::pairs;
  const int box_rows = pairs ? 2 * count : count;
  if (columns % 64 != 0 || box_rows < 1 || box_rows > 256 ||
      reinterpret_cast<std::uintptr_t>(data) % 16 != 0) {
    throw LaunchError("the device would refuse this tensor map");
  }
  return {.data = reinterpret_cast<const std::uint16_t*>(data),
          .rows = rows,
          .columns = columns,
          .box_rows = box_rows,
          .group_rows = pairs ? kGroupRows : 0};
}

#else

using Encode = CUresult (*)(CUtensorMap*, CUtensorMapDataType, cuuint32_t, void*, const cuuint64_t*,
                            const cuuint64_t*, const cuuint32_t*, const cuuint32_t*, CUtensorMapInterleave,
                            CUtensorMapSwizzle, CUtensorMapL2promotion, CUtensorMapFloatOOBfill);

/// The driver's function, looked up at run time so that nothing links to the driver.
Encode find_encode() {
  void* function = nullptr;
  cudaDriverEntryPointQueryResult result = cudaDriverEntryPointSymbolNotFound;
  constexpr const char* kName = "cuTensorMapEncodeTiled";
#if CUDART_VERSION >= 12050
  const cudaError_t status =
      cudaGetDriverEntryPointByVersion(kName, &function, 12000, cudaEnableDefault, &result);
#else
  const cudaError_t status = cudaGetDriverEntryPoint(kName, &function, cudaEnableDefault, &result);
#endif
  if (status != cudaSuccess || result != cudaDriverEntryPointSuccess || function == nullptr) {
    cudaGetLastError();
    throw LaunchError(std::string("the driver has no ") + kName + ": it is older than CUDA 12.0");
  }
  return reinterpret_cast<Encode>(function);
}

template <class T>
TensorMap make(const T* data, std::int64_t rows, std::int64_t columns, Boxes boxes, int count) {
  static const Encode encode = find_encode();
  const auto size = [](std::int64_t number) { return static_cast<cuuint64_t>(number); };
  const cuuint64_t pitch = size(columns) * sizeof(T);
  constexpr cuuint32_t kBoxColumns = kBoxRowBytes / sizeof(T);
  const auto box_count = static_cast<cuuint32_t>(count);
  // Columns, rows; or columns, rows of a group, groups.
  const bool pairs = boxes == Boxes::pairs;
  const std::array<cuuint64_t, 3> sizes{size(columns), pairs ? kGroupRows : size(rows),
                                        size(rows / kGroupRows)};
  const std::array<cuuint64_t, 2> strides{pitch, kGroupRows * pitch};
  const std::array<cuuint32_t, 3> box{kBoxColumns, pairs ? 2 : box_count, box_count};
  const std::array<cuuint32_t, 3> steps{1, 1, 1};
  TensorMap map;
  const CUresult result = encode(
      &map, std::is_same_v<T, Half> ? CU_TENSOR_MAP_DATA_TYPE_FLOAT16 : CU_TENSOR_MAP_DATA_TYPE_BFLOAT16,
      pairs ? 3 : 2, const_cast<T*>(data), sizes.data(), strides.data(), box.data(), steps.data(),
      CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B, CU_TENSOR_MAP_L2_PROMOTION_L2_128B,
      CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  if (result != CUDA_SUCCESS) {
    throw LaunchError("cuTensorMapEncodeTiled: error " + std::to_string(static_cast<int>(result)) + " for " +
                      std::to_string(rows) + " rows of " + std::to_string(columns) + " columns, boxes of " +
                      std::to_string(count) + (pairs ? " pairs of rows" : " rows"));
  }
  return map;
}

#endif

template <class T>
TensorMap make_pairs(const T* data, std::int64_t rows, std::int64_t columns, int box_groups) {
  if (rows % kGroupRows != 0) {
    throw LaunchError(std::to_string(rows) + "  rows are not a multiple of  " + std::to_string(kGroupRows));
  }
  return make(data, rows, columns, Boxes::pairs, box_groups);
}

}  // namespace

TensorMap make_tensor_map(const Half* data, std::int64_t rows, std::int64_t columns, int box_rows) {
  return make(data, rows, columns, Boxes::rows, box_rows);
}
TensorMap make_tensor_map(const Bfloat16* data, std::int64_t rows, std::int64_t columns, int box_rows) {
  return make(data, rows, columns, Boxes::rows, box_rows);
}
TensorMap make_pairs_tensor_map(const Half* data, std::int64_t rows, std::int64_t columns, int box_groups) {
  return make_pairs(data, rows, columns, box_groups);
}
TensorMap make_pairs_tensor_map(const Bfloat16* data, std::int64_t rows, std::int64_t columns,
                                int box_groups) {
  return make_pairs(data, rows, columns, box_groups);
}

}  // namespace filterscope::kernels
