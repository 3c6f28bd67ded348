#pragma once

#include <algorithm>

#include "../../common/ring.h"
#include "../../common/windows.h"
#include "../convolution.h"
#include "tile.h"

/// What a launch of convolution_wgmma is given, what is where in shared memory, and which tiles a block has.
namespace filterscope::kernels::wgmma {

/// What the host works out once per launch.
struct Params {
  int height;
  int width;
  Windows windows;
  int windows_count;  ///< Of all images.
  int out_channels;
  int slices;  ///< Of the input channels.
  int channel_tiles;
  int tiles;
  int boxes;  ///< Of a halo tile.
  int box_rows;
  int stages;             ///< Tiles of weights that shared memory has room for.
  bool resident_weights;  ///< It has room for all there are.

  __host__ __device__ constexpr int halo_rows() const { return boxes * box_rows; }
  __host__ __device__ constexpr int halo_bytes() const { return halo_rows() * kRowBytes; }
};

/// How far before its first position a tile's halo tile begins: a row and a position, or, for halo tiles that
/// are made of pairs of positions, two.
template <FusedPool kPool>
__host__ __device__ constexpr int halo_margin(int width) {
  return width + (kPool == FusedPool::input ? 2 : 1);
}

// Dynamic shared memory in bytes: a line of zeros, the mbarriers, the stages of weights, two halo tiles.
constexpr int kZeros = 0;
constexpr int kWeights = kSwizzleBytes;
constexpr int kHaloBarriers = kZeros + kLineBytes;
constexpr int kStageBarriers = kHaloBarriers + kHaloTiles * kRingBarrierBytes;
static_assert(kStageBarriers + kMostStages * kRingBarrierBytes <= kWeights);

/// The tiles of a block, one after the other. Blocks at the same time have the same positions, if the
/// channels need several tiles, so that they find their input in L2.
template <class Tile>
struct TileScheduler {
  int tile = static_cast<int>(blockIdx.x);

  __device__ bool more(const Params& params) const { return tile < params.tiles; }
  __device__ void advance() { tile += static_cast<int>(gridDim.x); }
  __device__ bool first() const { return tile == static_cast<int>(blockIdx.x); }
  __device__ int first_window(const Params& params) const {
    return tile / params.channel_tiles * Tile::kWindows;
  }
  __device__ int first_channel(const Params& params) const {
    return tile % params.channel_tiles * Tile::kChannels;
  }
  template <FusedPool kPool>
  __device__ int halo_position(const Params& params) const {
    return params.windows.place(first_window(params)).position - halo_margin<kPool>(params.width);
  }
};

/// Rows of a halo tile: what the tile with the furthest reach needs.
template <class Tile>
constexpr int halo_rows(const ConvolutionShape& shape, const Windows& windows) {
  int reach = 0;  // From a tile's first position to its last.
  int first = 0;
  do {
    const int last = windows.place(first + Tile::kWindows - 1).position + shape.width + 1;
    reach = std::max(reach, last - windows.place(first).position);
    first += Tile::kWindows;
  } while (first % windows.per_image() != 0);
  const int before = shape.pool == FusedPool::input ? halo_margin<FusedPool::input>(shape.width)
                                                    : halo_margin<FusedPool::none>(shape.width);
  return before + reach + 1 + shape.width + 1;
}

template <class Tile>
constexpr Params make_params(int images, const ConvolutionShape& shape) {
  const Windows windows(shape.height, shape.width);
  Params params{.height = shape.height,
                .width = shape.width,
                .windows = windows,
                .windows_count = images * windows.per_image(),
                .out_channels = shape.out_channels,
                .slices = shape.in_channels / kSliceChannels,
                .channel_tiles = shape.out_channels / Tile::kChannels,
                .tiles = 0,
                .boxes = 0,
                .box_rows = 0,
                .stages = 0,
                .resident_weights = false};
  params.tiles = ceil_div(params.windows_count, Tile::kWindows) * params.channel_tiles;
  const int rows = halo_rows<Tile>(shape, windows);
  params.boxes = ceil_div(rows, kMostBoxRows);
  params.box_rows = ceil_div(ceil_div(rows, params.boxes), kSwizzleRows) * kSwizzleRows;
  const int left = kSharedLimit - kWeights - kHaloTiles * params.halo_bytes();
  const int weight_tiles = kTaps * params.slices;
  params.stages = std::clamp(left / Tile::kStageBytes, 0, std::min(kMostStages, weight_tiles));
  params.resident_weights = params.channel_tiles == 1 && params.stages == weight_tiles;
  return params;
}

}  // namespace filterscope::kernels::wgmma
