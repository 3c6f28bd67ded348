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
constexpr int kTaps = 27;  // Of three colours.

// A block's part of the image, and columns and rows of the gradient beside it.
constexpr int kParts = 2;  // Of the squares, each way.
constexpr int kTileWidth = kParts * kGradientTile;
constexpr int kTileHeight = kParts * kGradientTile;
constexpr int kColumns = kTileWidth + 2;

constexpr int kMmaPositions = 16;  // Shape of ptx::mma_m16n8k16.
constexpr int kMmaChannels = 16;
constexpr int kSteps = kChannels / kMmaChannels;

// Four lanes share a row of sums, in which each has 7 of the taps, with all parts of their weights.
constexpr int kPairLanes = 4;
constexpr int kLaneTaps = ceil_div(kTaps, kPairLanes);
template <class T>
constexpr int kWeightParts = std::is_same_v<T, Half> ? 2 : 3;
template <class T>
constexpr int kProducts = ceil_div(kWeightParts<T>* kLaneTaps, 2);
template <class T>
constexpr int kBlocksPerSm = std::is_same_v<T, Half> ? 4 : 3;

// Positions of the gradient are counted along the block's rows, one row after the other. So many at a time:
constexpr int kStagePositions = kWarps * kMmaPositions;
constexpr int kStages = 3;  // One in use, two on their way.
// Outputs are counted as the positions are, the first at the corner of the halo. An output needs the
// positions from its own to kReach further.
constexpr int kReach = 2 * kColumns + 2;
// Of what positions give to outputs, so many positions are kept.
constexpr int kKept = 256;
static_assert(kStagePositions + kReach + kStagePositions <= kKept,
              "outputs are added up while the next positions are multiplied");

// Dynamic shared memory in bytes: stages of the gradient and of its masks; what positions give, [tap][kept
// position], in whose place the weights are before.
constexpr int kElementBytes = 2;
constexpr int kChunkElements = 8;
constexpr int kChunkBytes = kChunkElements * kElementBytes;
constexpr int kChunks = kChannels / kChunkElements;  // Of a position: all 32 banks.
constexpr int kPositionBytes = kChannels * kElementBytes;
constexpr int kStageBytes = kStagePositions * kPositionBytes;
constexpr int kMaskWords = kChannels / 32;
constexpr int kMaskBytes = kMaskWords * 4;
constexpr int kMaskStageBytes = kStagePositions * kMaskBytes;
constexpr int kMasks = kStages * kStageBytes;
constexpr int kGiven = kMasks + kStages * kMaskStageBytes;
// The eight rows and four columns of a product's sums lie in different banks.
constexpr int kGivenPitch = kKept + 8;
static_assert(kLaneTaps * kGivenPitch % 32 == 24);
constexpr int kSharedBytes = kGiven + kPairLanes * kLaneTaps * kGivenPitch * static_cast<int>(sizeof(float));
static_assert(kProducts<Bfloat16> * kSteps * kWarpSize * 8 <= kSharedBytes - kGiven);

/// The block's place in the image.
struct OutputTile {
  int image;
  int y;
  int x;
  int height;          ///< Of the image.
  int width;           ///< Of the image.
  int rows;            ///< That the block has.
  std::int64_t first;  ///< Position of the image's first one, over all images.

  __device__ int positions() const { return (rows + 2) * kColumns; }
};

}  // namespace filterscope::kernels::dgrad_mma
