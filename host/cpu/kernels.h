#pragma once

#include <cstddef>
#include <cstdint>

#include "map.h"

namespace filterscope::cpu {

/// How Winograd's F(tile x tile, 3 x 3) (A. Lavin, S. Gray, arXiv:1509.09308) divides maps of one shape:
/// squares of tile x tile outputs, each computed from a square of (tile + 2) x (tile + 2) inputs that
/// overlaps its neighbours'. Tiles are numbered by [image][row][column].
struct TileGrid {
  int tile;  ///< 2, 4 or 6
  int height;
  int width;

  int rows() const { return (height + tile - 1) / tile; }
  int columns() const { return (width + tile - 1) / tile; }
  int per_map() const { return rows() * columns(); }
  /// The points of a transformed tile; each takes one matrix product over all tiles.
  int points() const { return (tile + 2) * (tile + 2); }
};

/// Transformed tiles in memory: [point][block][slot][kLanes] floats, one slot per tile. Points are
/// `point_stride` floats apart, an odd number of cache lines, so that the points of one tile do not compete
/// for the same set of the cache.
struct TransformedTiles {
  float* values;
  int slots;
  std::size_t point_stride;

  static std::size_t stride(int slots, int blocks) {
    return (static_cast<std::size_t>(slots) * static_cast<std::size_t>(blocks) | 1) * kLanes;
  }
  float* at(int point, int block, int slot) const {
    return values + static_cast<std::size_t>(point) * point_stride +
           (static_cast<std::size_t>(block) * static_cast<std::size_t>(slots) +
            static_cast<std::size_t>(slot)) *
               kLanes;
  }
};

/// Tiles first + begin to first + end - 1 of a grid, in slots begin to end - 1, in one channel block.
struct TileRange {
  int first;
  int block;
  int begin;
  int end;
};

/// The operations of the ascent, each on a part of the work, so that the caller can distribute it over
/// threads. Results do not depend on the division: every element is computed by the same operations in the
/// same order. Maps are laid out as by MapShape, those of several images one after another. No alignment is
/// assumed; inputs and outputs do not overlap unless stated.
///
/// A 3x3 convolution has three steps: tiles of the input are transformed; for each point, the matrix of
/// transformed tiles is multiplied by that of transformed weights; and the products are transformed back. The
/// pointwise operations between two convolutions are fused into the first and last step.
///
/// ReLU masks have one bit per element of a map (element i is bit i % 8 of byte i / 8), set where it is above
/// zero. Pool indices have one byte per element of a pooled map: which of the window's four elements
/// (row-major) is the first maximum, or 4 if the maximum is zero, which the ReLU below does not pass.
///
/// The table is compiled once per instruction set (kernels_avx512.cpp, kernels_avx2.cpp, kernels_generic.cpp,
/// all from kernels.inc); kernels() returns the best one for this processor.
struct Kernels {
  const char* name;  ///< "avx512", "avx2" or "generic"

  /// Transforms the weights of one input channel for one block of output channels. `taps` is [9][kLanes];
  /// writes to[point * point_stride + lane].
  void (*transform_weights)(int tile, const float* taps, float* to, std::size_t point_stride);

  /// Transforms the inputs of tiles, zero beyond the border. Each map has `blocks` channel blocks.
  void (*transform_input)(const TileGrid& grid, const TileRange& tiles, int blocks, const float* maps,
                          const TransformedTiles& to);
  /// The same for the gradient below a 2x2 max-pool of stride 2 and the ReLU before it, given the gradient of
  /// the pooled maps and the pool indices.
  void (*transform_pool_gradient)(const TileGrid& grid, const TileRange& tiles, int blocks,
                                  const float* pooled_gradients, const std::uint8_t* argmax,
                                  const TransformedTiles& to);

  /// The matrix product at one point. `inputs` is [in_blocks][slots][kLanes], of which slots 0 to count - 1
  /// are used; `weights` [out_blocks][in_blocks * kLanes][kLanes]; `products` [out_blocks][slots][kLanes].
  void (*multiply)(const float* inputs, int slots, int count, int in_blocks, const float* weights,
                   int out_blocks, float* products);

  /// Transforms back, then adds the bias and applies the ReLU. `bias` is [kLanes], that of the block. Writes
  /// the ReLU masks of the maps, image after image, to `masks` unless null.
  void (*transform_output)(const TileGrid& grid, const TileRange& tiles, int blocks,
                           const TransformedTiles& from, const float* bias, float* maps, std::uint8_t* masks);
  /// The same, followed by a 2x2 max-pool of stride 2.
  void (*transform_output_pool)(const TileGrid& grid, const TileRange& tiles, int blocks,
                                const TransformedTiles& from, const float* bias, float* pooled,
                                std::uint8_t* argmax);
  /// Transforms gradients back; zero where `masks`, unless null, has no bit.
  void (*transform_output_gradient)(const TileGrid& grid, const TileRange& tiles, int blocks,
                                    const TransformedTiles& from, const std::uint8_t* masks,
                                    float* gradients);

  /// One filter of a 3x3 convolution with zero padding 1 and bias, and the larger of its value and `least`: 0
  /// for a ReLU, -infinity for none. Computes rows row_begin to row_end - 1 of `response` [height][width].
  /// `weights` is [blocks][9][kLanes]. `scratch` holds width * kLanes floats.
  void (*head_forward)(const MapShape& shape, const float* map, const float* weights, float bias, float least,
                       float* response, float* scratch, int row_begin, int row_end);
  /// Rows row_begin to row_end - 1 of the gradient of scale * sum(response) with respect to the head's input.
  /// Unless `mask_by` is null, it is zero where that map (the input itself, the output of a ReLU) is not
  /// above zero. `scratch` is as for head_forward.
  void (*head_backward)(const MapShape& shape, const float* response, float scale, const float* weights,
                        const float* mask_by, float* gradient, float* scratch, int row_begin, int row_end);
};

/// The table for this processor: the best one, or the one that $FILTERSCOPE_CPU_KERNELS names, such as
/// "generic". Throws a usage Error if the variable names none that this processor can run.
const Kernels& kernels();

/// All tables that this processor can run, the best first; for tests.
struct KernelTables {
  const Kernels* tables[3];
  int count;
};
KernelTables kernel_tables();

}  // namespace filterscope::cpu
