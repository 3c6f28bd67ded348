#pragma once

#include <algorithm>

#include "../../common/types.h"

/// The part of the product that a block and a warp of convolution_implicit_gemm compute, and the layout of
/// shared memory.
namespace filterscope::kernels::implicit_gemm {

constexpr int kKernelSize = 3;
constexpr int kTaps = kKernelSize * kKernelSize;
constexpr int kSliceChannels = 32;
constexpr int kMmaPositions = 16;  // Shape of ptx::mma_m16n8k16.
constexpr int kMmaChannels = 8;
constexpr int kMmaDepth = 16;
constexpr int kSteps = kSliceChannels / kMmaDepth;
static_assert(kSteps == 2, "the main loop alternates between two sets of fragments");

// Shared memory consists of rows, each the slice of one position or of one output channel's tap. A row
// consists of chunks: what one cp.async copies and one row of an ldmatrix matrix holds.
constexpr int kElementBytes = 2;
constexpr int kChunkBytes = 16;
constexpr int kChunkElements = kChunkBytes / kElementBytes;
constexpr int kRowBytes = kSliceChannels * kElementBytes;
constexpr int kChunksPerRow = kRowBytes / kChunkBytes;
constexpr int kLineBytes = 128;  // All 32 banks.
constexpr int kSwizzleRows = 8;  // swizzle() repeats after these.

// Weight tiles: one in use, two in flight.
constexpr int kStages = 3;
static_assert(kStages == kKernelSize, "the column of a tap in the kernel is also its stage");

/// The part of the product that a block and each of its warps compute, and the number of blocks that an SM's
/// registers must suffice for. An output is the same with every tile, bit for bit.
template <int kPositions_, int kChannels_, int kWarpPositions_, int kWarpChannels_, int kBlocksPerSm_>
struct MmaTile {
  static constexpr int kPositions = kPositions_;  ///< Output positions per block.
  static constexpr int kChannels = kChannels_;    ///< Output channels per block.
  static constexpr int kWarpPositions = kWarpPositions_;
  static constexpr int kWarpChannels = kWarpChannels_;
  static constexpr int kBlocksPerSm = kBlocksPerSm_;
  static constexpr int kChannelWarps = kChannels / kWarpChannels;
  static constexpr int kThreads = kPositions / kWarpPositions * kChannelWarps * kWarpSize;
  static constexpr int kMmaRows = kWarpPositions / kMmaPositions;
  static constexpr int kMmaColumns = kWarpChannels / kMmaChannels;
  static constexpr int kWeightBytes = kChannels * kRowBytes;

  // Copies: kChunksPerRow threads share a row.
  static constexpr int kRowsAtOnce = kThreads / kChunksPerRow;
  static constexpr int kWeightCopies = kChannels / kRowsAtOnce;
  static constexpr int kHaloPieces = kTaps - (kStages - 2);
  static constexpr int kHaloCopies = 2;                                          ///< Per piece.
  static constexpr int kHaloCapacity = kHaloCopies * kHaloPieces * kRowsAtOnce;  ///< Rows.

  static_assert(kPositions % kWarpPositions == 0 && kChannels % kWarpChannels == 0,
                "warps share the tile out evenly");
  static_assert(kWarpPositions % kMmaPositions == 0 && kWarpChannels % (2 * kMmaChannels) == 0,
                "ldmatrix loads 16 positions or 16 channels at once");
  static_assert(kChannels % kRowsAtOnce == 0, "every thread copies equally many chunks of a weight tile");
  static_assert(kRowsAtOnce % kSwizzleRows == 0, "all rows that a thread copies are swizzled alike");
  static_assert(kChannels % 32 == 0, "a mask word has 32 channels");
};

/// Parameters that the host computes once per launch.
struct MmaParams {
  int height;
  int width;
  int in_channels;
  int out_channels;
  int positions;  ///< images * height * width
  int row_pitch;  ///< Rows of the halo tile between consecutive rows of the 3x3 kernel.
  int halo_rows;  ///< A multiple of kSwizzleRows.
};

// Byte offsets in dynamic shared memory: a line of zeros, kStages weight tiles, two halo tiles. After the
// main loop the output tile replaces weights and halo tiles.
constexpr int kZeros = 0;
constexpr int kWeights = kZeros + kLineBytes;
template <class Tile>
constexpr int kHaloTiles = kWeights + Tile::kWeightBytes* kStages;
constexpr int kOutputs = kWeights;

/// The byte offset of a chunk whose offset without swizzling is `offset`. The chunks of a row are exchanged
/// so that the same chunk of any 8 consecutive rows covers all 32 banks. Rows start at multiples of
/// kRowBytes.
__device__ inline int swizzle(int offset) {
  static_assert(kRowBytes == 64 && kChunkBytes == 16, "written for rows of four chunks");
  return offset ^ (offset >> 3 & 0x30);
}

template <class Tile>
constexpr int row_pitch(int width) {
  return std::min(width, Tile::kPositions + kKernelSize - 1);
}

template <class Tile>
constexpr int halo_rows(int width) {
  const int rows = Tile::kPositions + (kKernelSize - 1) * (1 + row_pitch<Tile>(width));
  return ceil_div(rows, kSwizzleRows) * kSwizzleRows;
}

template <class Tile>
constexpr int shared_bytes(int width) {
  return std::max(kHaloTiles<Tile> + 2 * halo_rows<Tile>(width) * kRowBytes,
                  kOutputs + Tile::kPositions * Tile::kChannels * kElementBytes);
}

/// Whether a block has room for the halo tiles of maps of this width, and copies them in time.
template <class Tile>
constexpr bool takes(int width) {
  constexpr int kMaxSharedBytes = 99 * 1024;  // Per block on sm_86 and sm_89; others have more.
  return halo_rows<Tile>(width) <= Tile::kHaloCapacity && shared_bytes<Tile>(width) <= kMaxSharedBytes;
}

}  // namespace filterscope::kernels::implicit_gemm
