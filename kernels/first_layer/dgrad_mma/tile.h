#pragma once

#include <cstdint>
#include <type_traits>

#include "../../common/types.h"
#include "../dgrad.h"

/// The part of the image that a block of first_layer_dgrad_mma computes, and the layout of shared memory.
namespace filterscope::kernels::dgrad_mma {

constexpr int kThreads = 128;
constexpr int kWarps = kThreads / kWarpSize;
constexpr int kChannels = 64;
constexpr int kTaps = 27;  // 9 positions x 3 colours.

// A block's part of the image, and the columns of the gradient that it needs.
constexpr int kParts = 2;  // Tiles of the sums of squares, in each direction.
constexpr int kTileWidth = kParts * kGradientTile;
constexpr int kTileHeight = kParts * kGradientTile;
constexpr int kColumns = kTileWidth + 2;

constexpr int kMmaPositions = 16;  // Shape of ptx::mma_m16n8k16.
constexpr int kMmaChannels = 16;
constexpr int kSteps = kChannels / kMmaChannels;

// Four lanes share a row of accumulators; each has 7 of the taps, with all parts of their weights.
constexpr int kPairLanes = 4;
constexpr int kLaneTaps = ceil_div(kTaps, kPairLanes);
template <class T>
constexpr int kWeightParts = std::is_same_v<T, Half> ? 2 : 3;
template <class T>
constexpr int kProducts = ceil_div(kWeightParts<T>* kLaneTaps, 2);
template <class T>
constexpr int kBlocksPerSm = std::is_same_v<T, Half> ? 4 : 3;

// Positions of the gradient are numbered row by row from the corner of the halo, outputs with the same pitch
// from the first output. Positions per stage:
constexpr int kStagePositions = kWarps * kMmaPositions;
constexpr int kStages = 3;  // One in use, two in flight.
// An output needs the contributions of the positions from its own number to kReach further.
constexpr int kReach = 2 * kColumns + 2;
// Number of positions whose contributions are kept.
constexpr int kKeptPositions = 256;
static_assert(kStagePositions + kReach + kStagePositions <= kKeptPositions,
              "outputs are added up while the next positions are multiplied");

// Byte offsets in dynamic shared memory: stages of the gradient and of its masks, then contributions,
// [tap][kept position]. Before the first stage the weights take the place of the contributions.
constexpr int kElementBytes = 2;
constexpr int kChunkElements = 8;
constexpr int kChunkBytes = kChunkElements * kElementBytes;
constexpr int kChunks = kChannels / kChunkElements;  // Per position: all 32 banks.
constexpr int kPositionBytes = kChannels * kElementBytes;
constexpr int kStageBytes = kStagePositions * kPositionBytes;
constexpr int kMaskWords = kChannels / 32;
constexpr int kMaskBytes = kMaskWords * 4;
constexpr int kMaskStageBytes = kStagePositions * kMaskBytes;
constexpr int kMasks = kStages * kStageBytes;
constexpr int kContributions = kMasks + kStages * kMaskStageBytes;
// The contributions that a warp stores at once, 8 positions x 4 taps, lie in different banks.
constexpr int kContributionPitch = kKeptPositions + 8;
static_assert(kLaneTaps * kContributionPitch % 32 == 24);
constexpr int kSharedBytes =
    kContributions + kPairLanes * kLaneTaps * kContributionPitch * static_cast<int>(sizeof(float));
static_assert(kProducts<Bfloat16> * kSteps * kWarpSize * 8 <= kSharedBytes - kContributions);

/// The part of the image that a block computes.
struct OutputTile {
  int image;
  int y;
  int x;
  int height;          ///< Image height.
  int width;           ///< Image width.
  int rows;            ///< Rows of the tile.
  std::int64_t first;  ///< The image's first position, over all images.

  __device__ int positions() const { return (rows + 2) * kColumns; }
};

}  // namespace filterscope::kernels::dgrad_mma
