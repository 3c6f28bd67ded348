#pragma once

#include "../../common/tensor_map.h"
#include "../../common/types.h"
#include "../../ptx/registers.h"
#include "../convolution.h"

/// The part of the product that a block, a warp and a thread of convolution_wgmma compute.
namespace filterscope::kernels::wgmma {

constexpr int kKernelSize = 3;
constexpr int kTaps = kKernelSize * kKernelSize;
constexpr int kSliceChannels = 64;
constexpr int kElementBytes = 2;
constexpr int kRowBytes = kSliceChannels * kElementBytes;
static_assert(kRowBytes == kBoxRowBytes, "rows of shared memory are rows of a TMA box");
constexpr int kChunkBytes = 16;
constexpr int kChunkElements = kChunkBytes / kElementBytes;
constexpr int kLineBytes = 128;  // All 32 banks.
constexpr int kSwizzleBytes = 1024;
constexpr int kSwizzleRows = kSwizzleBytes / kRowBytes;

constexpr int kWarpgroupWarps = 4;
constexpr int kProductDepth = 16;  // Shape of ptx::wgmma_m64k16; a warp has 16 of its rows.
constexpr int kWarpRows = 16;
constexpr int kQuadLanes = 4;
constexpr int kSteps = kSliceChannels / kProductDepth;

// A warp computes eight consecutive windows. The 16 rows that it has of a product are one row of these
// windows, from left to right; two products cover both rows.
constexpr int kProducts = 2;
constexpr int kWarpWindows = kWarpRows / 2;
constexpr int kInputRows = kProducts + kKernelSize - 1;  // Rows of inputs that the two rows of outputs read.

// Of eight adjacent columns a product gives each lane of a quad two, but a lane should store a chunk, eight
// channels. The columns therefore hold the tile's channels in a different order: quarter i of the columns
// holds pair i of every chunk.
constexpr int kQuarters = kChunkElements / 2;
static_assert(kQuarters == kQuadLanes && kChunkElements == kGroupRows);

constexpr int kHaloTiles = 2;
constexpr int kMinStages = kKernelSize + 1;  // A column of taps, and the last tap of the column before.
constexpr int kMaxStages = 16;
constexpr int kMaxSharedBytes = 227 * 1024;  // Per block on sm_90.
constexpr int kMaxBoxRows = 256;
constexpr int kMultiprocessorRegisters = 64 * 1024;

/// A block's part of the product. Two or three consumer warpgroups multiply; one thread of a producer
/// warpgroup starts the copies. Where halo tiles come through a pool, the other three producer warps and a
/// second producer warpgroup compute them: the three alone would take twice as long as the products (measured
/// on an H200 at 96x96, 64 to 64 channels).
template <int kChannels_, int kWarpgroups_>
struct TileShape {
  static constexpr int kWarpgroups = kWarpgroups_;  ///< Consumers.
  static constexpr int kConsumerWarps = kWarpgroups * kWarpgroupWarps;
  static constexpr int kWindows = kConsumerWarps * kWarpWindows;  ///< 2x2 windows of output positions.
  static constexpr int kChannels = kChannels_;                    ///< Output channels.
  static constexpr int kTmaWarp = kConsumerWarps;
  static constexpr int kHaloProducerWarps = 2 * kWarpgroupWarps - 1;
  static constexpr int kAccumulators = kChannels / 2;  ///< Per thread and product.
  static constexpr int kStageBytes = kChannels * kRowBytes;
  static constexpr int kQuarterBytes = kStageBytes / kQuarters;
  static_assert(kQuarterBytes % kSwizzleBytes == 0, "each quarter is swizzled like the whole stage");
  static constexpr int kWords =
      kChannels / 32;  ///< Words of a mask; each covers four chunks, one per lane of a quad.

  static_assert(kWords <= kQuadLanes, "each word of a mask has a lane of the quad");
};

/// The consumer and producer threads of a block, and the registers of each.
template <class Tile, FusedPool kPool>
struct Threads {
  static constexpr int kConsumers = Tile::kConsumerWarps * kWarpSize;
  static constexpr int kProducers = (kPool == FusedPool::input ? 2 : 1) * kWarpgroupWarps * kWarpSize;
  static constexpr int kAll = kConsumers + kProducers;

  // A launch gives all threads the same number of registers, but consumers need more than producers: some 200
  // for 128 channels.
  static constexpr int kStep = 8;
  static constexpr int kLaunched = kMultiprocessorRegisters / kAll / kStep * kStep;
  static constexpr int kProducerRegisters = kPool == FusedPool::input ? 48 : Tile::kWarpgroups == 2 ? 72 : 40;
  static constexpr int kConsumerRegisters =
      (kLaunched * kAll - kProducerRegisters * kProducers) / kConsumers / kStep * kStep;
  static_assert(kProducerRegisters >= ptx::kMinRegisters && kProducerRegisters <= kLaunched,
                "producers can only release registers that they have");
  static_assert(kConsumerRegisters >= kLaunched && kConsumerRegisters <= ptx::kMaxRegisters,
                "consumers gain registers, up to the most that a thread can have");
};

}  // namespace filterscope::kernels::wgmma
