#pragma once

#include <algorithm>

#include "../../common/ring.h"
#include "../../common/windows.h"
#include "../convolution.h"
#include "tile.h"

/// The parameters of a launch of convolution_wgmma, the layout of shared memory, and the tiles of each block.
namespace filterscope::kernels::wgmma {

/// Parameters that the host computes once per launch.
struct Params {
  int height;
  int width;
  Windows windows;
  int windows_count;  ///< Over all images.
  int out_channels;
  int slices;  ///< in_channels / kSliceChannels
  int channel_tiles;
  int tiles;
  int boxes;  ///< TMA boxes per halo tile.
  int box_rows;
  int stages;             ///< Weight tiles that shared memory has room for.
  bool resident_weights;  ///< All weight tiles fit, and are loaded only once.

  __host__ __device__ constexpr int halo_rows() const { return boxes * box_rows; }
  __host__ __device__ constexpr int halo_bytes() const { return halo_rows() * kRowBytes; }
};

/// Number of positions by which a halo tile begins before its tile: a row and one position, or a row and two
/// where pairs of positions are unpooled.
template <FusedPool kPool>
__host__ __device__ constexpr int halo_margin(int width) {
  return width + (kPool == FusedPool::input ? 2 : 1);
}

// Byte offsets in dynamic shared memory: a line of zeros, the mbarriers, the stages of weights, two halo
// tiles.
constexpr int kZeros = 0;
constexpr int kWeights = kSwizzleBytes;
constexpr int kHaloBarriers = kZeros + kLineBytes;
constexpr int kStageBarriers = kHaloBarriers + kHaloTiles * kRingBarrierBytes;
static_assert(kStageBarriers + kMaxStages * kRingBarrierBytes <= kWeights);

/// Persistent tile scheduler: the tiles that a block computes in turn. Where the output channels take several
/// tiles, blocks that run at the same time share their positions, so that they find the input in L2.
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
    return params.windows.origin(first_window(params)).position - halo_margin<kPool>(params.width);
  }
};

/// Rows of a halo tile: as many as the tile with the longest reach needs.
template <class Tile>
constexpr int halo_rows(const ConvolutionShape& shape, const Windows& windows) {
  int reach = 0;  // From a tile's first position to the last that it needs.
  int first = 0;
  do {
    const int last = windows.origin(first + Tile::kWindows - 1).position + shape.width + 1;
    reach = std::max(reach, last - windows.origin(first).position);
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
  params.boxes = ceil_div(rows, kMaxBoxRows);
  params.box_rows = ceil_div(ceil_div(rows, params.boxes), kSwizzleRows) * kSwizzleRows;
  const int left = kMaxSharedBytes - kWeights - kHaloTiles * params.halo_bytes();
  const int weight_tiles = kTaps * params.slices;
  params.stages = std::clamp(left / Tile::kStageBytes, 0, std::min(kMaxStages, weight_tiles));
  params.resident_weights = params.channel_tiles == 1 && params.stages == weight_tiles;
  return params;
}

}  // namespace filterscope::kernels::wgmma
