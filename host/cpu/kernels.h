#pragma once

#include <cstddef>
#include <cstdint>

#include "map.h"

namespace filterscope::cpu {

/// The operations of the ascent that are not whole convolutions, each over a range of rows of one image so
/// that a caller can spread images and rows over threads. Results do not depend on how rows are split. Maps
/// are as MapShape says; no alignment is assumed; input and output do not overlap unless said.
///
/// The table is compiled once per instruction set (kernels_avx512.cpp, kernels_avx2.cpp, kernels_generic.cpp,
/// all from kernels.inc); kernels() gives the best one for this processor.
struct Kernels {
  const char* name;  ///< "avx512", "avx2" or "generic"

  /// Which elements of a map are above zero, as bits: element i is bit i % 8 of byte i / 8. `count` elements;
  /// the last byte is padded with zeros.
  void (*pack_mask)(const float* map, std::size_t count, std::uint8_t* bits);
  /// Sets to zero, in place, the elements whose bit is not set: the gradient of ReLU.
  void (*apply_mask)(float* gradient, const std::uint8_t* bits, std::size_t count);

  /// 2x2 max-pool of stride 2 over the output of a ReLU. `winners` [same layout as pooled] says which of the
  /// window's four elements (row-major) is the first maximum, or 4 where the maximum is zero, so that the
  /// ReLU below is closed. Rows count over [outer][height / 2] of the pooled map.
  void (*pool_forward)(const MapShape& shape, const float* map, float* pooled, std::uint8_t* winners,
                       int row_begin, int row_end);
  /// Gradient of the pool and of the ReLU below it: every element of `gradient` [shape] is written. Rows
  /// count over [outer][(height + 1) / 2] pairs of rows.
  void (*pool_backward)(const MapShape& shape, const float* pooled_gradient, const std::uint8_t* winners,
                        float* gradient, int row_begin, int row_end);

  /// One filter of a 3x3 convolution, zero padding 1, with bias and ReLU: response [height][width]. `weights`
  /// are [outer][9][block]. `scratch` holds width * 16 floats. Rows count over the height.
  void (*head_forward)(const MapShape& shape, const float* map, const float* weights, float bias,
                       float* response, float* scratch, int row_begin, int row_end);
  /// Gradient of scale * sum(response) with respect to the head's input; where `mask_by` is given, zero where
  /// that map (the input itself, the output of a ReLU) is not above zero. Rows count over [outer][height].
  void (*head_backward)(const MapShape& shape, const float* response, float scale, const float* weights,
                        const float* mask_by, float* gradient, int row_begin, int row_end);

  /// Gradient of a 3x3 convolution with three input channels with respect to its input: image_gradient
  /// [height][width][3]. `gradient` [shape] is that of the convolution's output, already masked. `weights`
  /// are [channels][32], of which the first 27 of a row are ordered [kh][kw][input channel]. `scratch` holds
  /// 3 * width * 32 floats. Rows count over the height.
  void (*last_gradient)(const MapShape& shape, const float* gradient, const float* weights,
                        float* image_gradient, float* scratch, int row_begin, int row_end);
};

/// The table for this processor.
const Kernels& kernels();

/// Every table this processor can run, the best first; for tests.
struct KernelTables {
  const Kernels* tables[3];
  int count;
};
KernelTables kernel_tables();

}  // namespace filterscope::cpu
