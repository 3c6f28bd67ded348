#pragma once

#include <algorithm>

#include "../../common/launch.h"
#include "../../common/ring.h"
#include "../../common/tensor_map.h"
#include "../../common/windows.h"
#include "../../ptx/registers.h"
#include "../convolution.h"

/// Which part of the product a block, a warp and a thread of convolution_wgmma have, and what is where in
/// shared memory.
namespace filterscope::kernels::wgmma {

constexpr int kKernelSize = 3;
constexpr int kTaps = kKernelSize * kKernelSize;
constexpr int kSliceChannels = 64;
constexpr int kElementBytes = 2;
constexpr int kRowBytes = kSliceChannels * kElementBytes;
static_assert(kRowBytes == kBoxRowBytes, "a row of shared memory is that of a box");
constexpr int kChunkBytes = 16;
constexpr int kChunkElements = kChunkBytes / kElementBytes;
constexpr int kLineBytes = 128;  // All 32 banks.
constexpr int kSwizzleBytes = 1024;
constexpr int kSwizzleRows = kSwizzleBytes / kRowBytes;

constexpr int kWarpgroupWarps = 4;
constexpr int kProductDepth = 16;  // Shape of ptx::wgmma_m64k16, of which a warp has 16 rows.
constexpr int kWarpRows = 16;
constexpr int kQuadLanes = 4;
constexpr int kSteps = kSliceChannels / kProductDepth;

// A warp has eight windows side by side: of a product 16 rows, which are a row of the windows, from left to
// right. Two products have both rows.
constexpr int kProducts = 2;
constexpr int kWarpWindows = kWarpRows / 2;
constexpr int kInputRows = kProducts + kKernelSize - 1;  // Of the strip, that they take.

// Of eight columns side by side a product gives each lane of a quad two, and a lane is to store a chunk:
// eight channels. So the channels of a tile have another order as columns: pair i of every chunk is in
// quarter i.
constexpr int kQuarters = kChunkElements / 2;
static_assert(kQuarters == kQuadLanes && kChunkElements == kGroupRows);

constexpr int kStrips = 2;
constexpr int kFewestStages = kKernelSize + 1;  // A column of taps, and the last one of the column before.
constexpr int kMostStages = 16;
constexpr int kSharedLimit = 227 * 1024;  // Of a block on sm_90.
constexpr int kMostBoxRows = 256;
constexpr int kMultiprocessorRegisters = 64 * 1024;

/// A block's part of the product. Two or three warpgroups multiply; of another one a thread starts the
/// copies. Where strips are made, its other warps and one more warpgroup make them: alone, the three would
/// take twice as long as the products (measured on an H200 at 96x96, 64 to 64 channels).
template <int kChannels_, int kWarpgroups_>
struct Tile {
  static constexpr int kWarpgroups = kWarpgroups_;  ///< That multiply.
  static constexpr int kMultiplyingWarps = kWarpgroups * kWarpgroupWarps;
  static constexpr int kWindows = kMultiplyingWarps * kWarpWindows;  ///< Of output positions.
  static constexpr int kChannels = kChannels_;                       ///< Of the output.
  static constexpr int kCopyingWarp = kMultiplyingWarps;
  static constexpr int kMakingWarps = 2 * kWarpgroupWarps - 1;
  static constexpr int kSums = kChannels / 2;  ///< Of a thread, per product.
  static constexpr int kStageBytes = kChannels * kRowBytes;
  static constexpr int kQuarterBytes = kStageBytes / kQuarters;
  static_assert(kQuarterBytes % kSwizzleBytes == 0, "each quarter is swizzled as the whole");
  static constexpr int kWords = kChannels / 32;  ///< Of a mask: four chunks, one for each lane of a quad.

  static_assert(kWords <= kQuadLanes, "each lane of a quad has a word of the gate and of the mask");
};

/// How many threads of a block multiply, how many do not, and how many registers each of them has.
template <class Tile, FusedPool kPool>
struct Threads {
  static constexpr int kMultiplying = Tile::kMultiplyingWarps * kWarpSize;
  static constexpr int kOther = (kPool == FusedPool::input ? 2 : 1) * kWarpgroupWarps * kWarpSize;
  static constexpr int kAll = kMultiplying + kOther;

  // A launch gives all of them the same number, and those that multiply need more than others: some 200 for
  // 128 channels.
  static constexpr int kStep = 8;
  static constexpr int kLaunched = kMultiprocessorRegisters / kAll / kStep * kStep;
  static constexpr int kOtherRegisters = kPool == FusedPool::input ? 48 : Tile::kWarpgroups == 2 ? 72 : 40;
  static constexpr int kMultiplyingRegisters =
      (kLaunched * kAll - kOtherRegisters * kOther) / kMultiplying / kStep * kStep;
  static_assert(kOtherRegisters >= ptx::kFewestRegisters && kOtherRegisters <= kLaunched,
                "registers that are given away must have been there");
  static_assert(kMultiplyingRegisters >= kLaunched && kMultiplyingRegisters <= ptx::kMostRegisters,
                "registers are taken, and no more than a thread can have");
};

/// What the host works out once per launch.
struct Geometry {
  int height;
  int width;
  Windows windows;
  int windows_count;  ///< Of all images.
  int out_channels;
  int slices;  ///< Of the input channels.
  int channel_tiles;
  int tiles;
  int boxes;  ///< Of a strip.
  int box_rows;
  int stages;     ///< Tiles of weights that shared memory has room for.
  bool resident;  ///< It has room for all there are.

  __host__ __device__ constexpr int strip_rows() const { return boxes * box_rows; }
  __host__ __device__ constexpr int strip_bytes() const { return strip_rows() * kRowBytes; }
};

/// How far before its first position a tile's strip begins: a row and a position, or, for strips that are
/// made of pairs of positions, two.
template <FusedPool kPool>
__host__ __device__ constexpr int strip_margin(int width) {
  return width + (kPool == FusedPool::input ? 2 : 1);
}

// Dynamic shared memory in bytes: a line of zeros, the mbarriers, the stages of weights, two strips.
constexpr int kZeros = 0;
constexpr int kWeights = kSwizzleBytes;
constexpr int kStripBarriers = kZeros + kLineBytes;
constexpr int kStageBarriers = kStripBarriers + kStrips * kRingBarrierBytes;
static_assert(kStageBarriers + kMostStages * kRingBarrierBytes <= kWeights);

/// The tiles of a block, one after the other. Blocks at the same time have the same positions, if the
/// channels need several tiles, so that they find their input in L2.
template <class Tile>
struct TileWalk {
  int tile = static_cast<int>(blockIdx.x);

  __device__ bool more(const Geometry& geometry) const { return tile < geometry.tiles; }
  __device__ void advance() { tile += static_cast<int>(gridDim.x); }
  __device__ bool first() const { return tile == static_cast<int>(blockIdx.x); }
  __device__ int first_window(const Geometry& geometry) const {
    return tile / geometry.channel_tiles * Tile::kWindows;
  }
  __device__ int first_channel(const Geometry& geometry) const {
    return tile % geometry.channel_tiles * Tile::kChannels;
  }
  template <FusedPool kPool>
  __device__ int strip_position(const Geometry& geometry) const {
    return geometry.windows.place(first_window(geometry)).position - strip_margin<kPool>(geometry.width);
  }
};

/// Rows of a strip: what the tile with the furthest reach needs.
template <class Tile>
constexpr int strip_rows(const ConvolutionShape& shape, const Windows& windows) {
  int reach = 0;  // From a tile's first position to its last.
  int first = 0;
  do {
    const int last = windows.place(first + Tile::kWindows - 1).position + shape.width + 1;
    reach = std::max(reach, last - windows.place(first).position);
    first += Tile::kWindows;
  } while (first % windows.per_image() != 0);
  const int before = shape.pool == FusedPool::input ? strip_margin<FusedPool::input>(shape.width)
                                                    : strip_margin<FusedPool::none>(shape.width);
  return before + reach + 1 + shape.width + 1;
}

template <class Tile>
constexpr Geometry geometry_of(int images, const ConvolutionShape& shape) {
  const Windows windows(shape.height, shape.width);
  Geometry geometry{.height = shape.height,
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
                    .resident = false};
  geometry.tiles = divide_up(geometry.windows_count, Tile::kWindows) * geometry.channel_tiles;
  const int rows = strip_rows<Tile>(shape, windows);
  geometry.boxes = divide_up(rows, kMostBoxRows);
  geometry.box_rows = divide_up(divide_up(rows, geometry.boxes), kSwizzleRows) * kSwizzleRows;
  const int left = kSharedLimit - kWeights - kStrips * geometry.strip_bytes();
  const int weight_tiles = kTaps * geometry.slices;
  geometry.stages = std::clamp(left / Tile::kStageBytes, 0, std::min(kMostStages, weight_tiles));
  geometry.resident = geometry.channel_tiles == 1 && geometry.stages == weight_tiles;
  return geometry;
}

}  // namespace filterscope::kernels::wgmma
