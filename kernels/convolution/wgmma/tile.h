#pragma once

#include "../../common/tensor_map.h"
#include "../../common/types.h"
#include "../../ptx/registers.h"
#include "../convolution.h"

/// Which part of the product a block, a warp and a thread of convolution_wgmma have.
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
constexpr int kInputRows = kProducts + kKernelSize - 1;  // Of the halo tile, that they take.

// Of eight columns side by side a product gives each lane of a quad two, and a lane is to store a chunk:
// eight channels. So the channels of a tile have another order as columns: pair i of every chunk is in
// quarter i.
constexpr int kQuarters = kChunkElements / 2;
static_assert(kQuarters == kQuadLanes && kChunkElements == kGroupRows);

constexpr int kHaloTiles = 2;
constexpr int kFewestStages = kKernelSize + 1;  // A column of taps, and the last one of the column before.
constexpr int kMostStages = 16;
constexpr int kSharedLimit = 227 * 1024;  // Of a block on sm_90.
constexpr int kMostBoxRows = 256;
constexpr int kMultiprocessorRegisters = 64 * 1024;

/// A block's part of the product. Two or three warpgroups multiply; of another one a thread starts the
/// copies. Where halo tiles are made, its other warps and one more warpgroup make them: alone, the three
/// would take twice as long as the products (measured on an H200 at 96x96, 64 to 64 channels).
template <int kChannels_, int kWarpgroups_>
struct TileShape {
  static constexpr int kWarpgroups = kWarpgroups_;  ///< That multiply.
  static constexpr int kConsumerWarps = kWarpgroups * kWarpgroupWarps;
  static constexpr int kWindows = kConsumerWarps * kWarpWindows;  ///< Of output positions.
  static constexpr int kChannels = kChannels_;                    ///< Of the output.
  static constexpr int kTmaWarp = kConsumerWarps;
  static constexpr int kHaloProducerWarps = 2 * kWarpgroupWarps - 1;
  static constexpr int kAccumulators = kChannels / 2;  ///< Of a thread, per product.
  static constexpr int kStageBytes = kChannels * kRowBytes;
  static constexpr int kQuarterBytes = kStageBytes / kQuarters;
  static_assert(kQuarterBytes % kSwizzleBytes == 0, "each quarter is swizzled as the whole");
  static constexpr int kWords = kChannels / 32;  ///< Of a mask: four chunks, one for each lane of a quad.

  static_assert(kWords <= kQuadLanes, "each lane of a quad has a word of either mask");
};

/// How many threads of a block multiply, how many do not, and how many registers each of them has.
template <class Tile, FusedPool kPool>
struct Threads {
  static constexpr int kConsumers = Tile::kConsumerWarps * kWarpSize;
  static constexpr int kProducers = (kPool == FusedPool::input ? 2 : 1) * kWarpgroupWarps * kWarpSize;
  static constexpr int kAll = kConsumers + kProducers;

  // A launch gives all of them the same number, and those that multiply need more than others: some 200 for
  // 128 channels.
  static constexpr int kStep = 8;
  static constexpr int kLaunched = kMultiprocessorRegisters / kAll / kStep * kStep;
  static constexpr int kProducerRegisters = kPool == FusedPool::input ? 48 : Tile::kWarpgroups == 2 ? 72 : 40;
  static constexpr int kConsumerRegisters =
      (kLaunched * kAll - kProducerRegisters * kProducers) / kConsumers / kStep * kStep;
  static_assert(kProducerRegisters >= ptx::kFewestRegisters && kProducerRegisters <= kLaunched,
                "registers that are given away must have been there");
  static_assert(kConsumerRegisters >= kLaunched && kConsumerRegisters <= ptx::kMostRegisters,
                "registers are taken, and no more than a thread can have");
};

}  // namespace filterscope::kernels::wgmma
