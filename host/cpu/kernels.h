#pragma once

#include <cstddef>
#include <cstdint>

#include "map.h"

namespace filterscope::cpu {

/// How Winograd's F(tile x tile, 3 x 3) (A. Lavin, S. Gray, arXiv:1509.09308) cuts maps of one shape: squares
/// of `tile` outputs, each from a square of tile + 2 inputs that overlaps its neighbours'. Tiles count over
/// [image][row][column] of images that lie one after another.
struct TileGrid {
  int tile;  ///< 2, 4 or 6
  int height;
  int width;

  int rows() const { return (height + tile - 1) / tile; }
  int columns() const { return (width + tile - 1) / tile; }
  int per_map() const { return rows() * columns(); }
  /// Points of a transformed tile; each is one matrix product over all tiles.
  int points() const { return (tile + 2) * (tile + 2); }
};

/// Transformed tiles in memory: [point][block][slot][kLanes] floats, a slot for each tile. Points are
/// `point_stride` floats apart, an odd number of cache lines, so that the points of one tile do not compete
/// for a set of the cache.
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

/// Tiles first + begin to first + end - 1 of a grid, in slots begin to end - 1, of one channel block.
struct TileRange {
  int first;
  int block;
  int begin;
  int end;
};

/// The operations of the ascent, each over a part of the work so that a caller can spread it over threads.
/// Results do not depend on how it is split: every element is computed by the same operations in the same
/// order. Maps are as MapShape says, those of several images one after another; no alignment is assumed;
/// input and output do not overlap unless said.
///
/// A 3x3 convolution is three steps. Tiles of the input are transformed, for each point the matrix of
/// transformed tiles is multiplied with that of transformed weights, and the products are transformed back.
/// What lies between two convolutions is done on the way in or out.
///
/// ReLU masks have a bit for each element of a map (element i is bit i % 8 of byte i / 8), set where it is
/// above zero. Pool indices, a byte for each element of a pooled map, say which of the window's four elements
/// (row-major) is the first maximum, or 4 where the maximum is zero, so that the ReLU below is closed.
///
/// The table is compiled once per instruction set (kernels_avx512.cpp, kernels_avx2.cpp, kernels_generic.cpp,
/// all from kernels.inc); kernels() gives the best one for this processor.
struct Kernels {
  const char* name;  ///< "avx512", "avx2" or "generic"

  /// Weights of one input channel for one block of output channels. `taps` [9][kLanes]; to[point *
  /// point_stride + lane].
  void (*transform_weights)(int tile, const float* taps, float* to, std::size_t point_stride);

  /// The inputs of tiles, zero beyond the border. `blocks` of each map.
  void (*transform_input)(const TileGrid& grid, const TileRange& tiles, int blocks, const float* maps,
                          const TransformedTiles& to);
  /// The same where the input is the gradient of a 2x2 max-pool of stride 2 and of the ReLU below it, given
  /// by that of the pooled maps and the argmax.
  void (*transform_pool_gradient)(const TileGrid& grid, const TileRange& tiles, int blocks,
                                  const float* pooled_gradients, const std::uint8_t* argmax,
                                  const TransformedTiles& to);

  /// The product at one point. `inputs` [in_blocks][slots][kLanes] of which slots 0 to count - 1 are used;
  /// `weights` [out_blocks][in_blocks * kLanes][kLanes]; `products` [out_blocks][slots][kLanes].
  void (*multiply)(const float* inputs, int slots, int count, int in_blocks, const float* weights,
                   int out_blocks, float* products);

  /// Bias and ReLU. `bias` [kLanes] of the block. `masks`: of the results, bytes of an image after another;
  /// may be null.
  void (*transform_output)(const TileGrid& grid, const TileRange& tiles, int blocks,
                           const TransformedTiles& from, const float* bias, float* maps, std::uint8_t* masks);
  /// Bias, ReLU and 2x2 max-pool of stride 2.
  void (*transform_output_pool)(const TileGrid& grid, const TileRange& tiles, int blocks,
                                const TransformedTiles& from, const float* bias, float* pooled,
                                std::uint8_t* argmax);
  /// Gradients; zero where `masks`, if given, has no bit.
  void (*transform_output_gradient)(const TileGrid& grid, const TileRange& tiles, int blocks,
                                    const TransformedTiles& from, const std::uint8_t* masks,
                                    float* gradients);

  /// One filter of a 3x3 convolution, zero padding 1, with bias and ReLU: response [height][width]. `weights`
  /// are [blocks][9][kLanes]. `scratch` holds width * kLanes floats. Rows count over the height.
  void (*head_forward)(const MapShape& shape, const float* map, const float* weights, float bias,
                       float* response, float* scratch, int row_begin, int row_end);
  /// Gradient of scale * sum(response) with respect to the head's input; where `mask_by` is given, zero where
  /// that map (the input itself, the output of a ReLU) is not above zero. `scratch` as for head_forward. Rows
  /// count over the height.
  void (*head_backward)(const MapShape& shape, const float* response, float scale, const float* weights,
                        const float* mask_by, float* gradient, float* scratch, int row_begin, int row_end);
};

/// The table for this processor: the best one, or the one that $FILTERSCOPE_CPU_KERNELS names, such as
/// "generic". A usage Error if the variable names none that this processor can run.
const Kernels& kernels();

/// Every table this processor can run, the best first; for tests.
struct KernelTables {
  const Kernels* tables[3];
  int count;
};
KernelTables kernel_tables();

}  // namespace filterscope::cpu
