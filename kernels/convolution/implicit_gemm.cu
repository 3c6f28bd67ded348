// Convolution as a matrix product ("implicit GEMM") with mma.sync: rows are output positions, of all images
// one after the other, columns output channels, and the sum runs over 9 taps x in_channels. Nothing is
// unrolled in memory: the operand with the input's patches exists only as addresses.
//
// The floor. A layer of C to K channels takes 18 C K FLOP per position and at least 2 (C + K) + K / 8 bytes
// of memory traffic (16-bit elements; the mask). That is 279 FLOP per byte at VGG16's block1_conv2 (64 to
// 64), 558 at block2_conv2, 1100 and more from block3_conv2 on, while an A100 turns from memory to arithmetic
// at about 160 and an H200 at 210 (an L40S at 420: there the 64-channel layers are bound by memory). So the
// tensor cores are to be kept busy, and what can starve them is the way of the operands:
// - L2 to shared memory. Loading the input of every tap anew, a tile of 128 positions x 128 channels makes 64
//   FLOP of each byte, which at full speed asks 4.9 TB/s of an A100's L2. But taps only shift positions: this
//   kernel loads a halo tile, the positions that all nine taps need, once per slice of 32 input channels, and
//   a tap reads it from another row on. At 24x24 that is 111 FLOP per byte, 2.8 TB/s.
// - Shared memory to registers, at 128 bytes per clock and SM. In a step of 16 input channels, each of the
//   four warps of a block reads 64 positions and 64 channels for 65536 multiply-adds: 128 clocks for the
//   block, and 37 more for writing weights and halo tile, beside 256 clocks of tensor cores on sm_80 and 512
//   on sm_89. On sm_90 it is 128 clocks at the full rate, so at most 78 % of it; but mma.sync does not pass
//   two thirds there anyway (W. Luo et al., arXiv 2402.13499), only wgmma does.
//
// Neighbours outside an image are not in the halo tile, which has those of the next image or row there: which
// taps leave the image is known per position before the loop, and ldmatrix then takes the row from a line of
// zeros. The loop has no division and no other boundary condition.

#include <algorithm>
#include <limits>

#include "../common/chunk.h"
#include "../common/global.h"
#include "../common/launch.h"
#include "../common/taps.h"
#include "../ptx/convert.h"
#include "../ptx/cp_async.h"
#include "../ptx/ldmatrix.h"
#include "../ptx/mma.h"
#include "convolution.h"

namespace filterscope::kernels {
namespace {

constexpr int kKernelSize = 3;
constexpr int kTaps = kKernelSize * kKernelSize;
constexpr int kSliceChannels = 32;
constexpr int kMmaPositions = 16;  // Shape of ptx::mma_m16n8k16.
constexpr int kMmaChannels = 8;
constexpr int kMmaDepth = 16;
constexpr int kSteps = kSliceChannels / kMmaDepth;
static_assert(kSteps == 2, "the main loop alternates between two sets of fragments");

// Shared memory consists of rows, each the slice of one position or of one output channel's tap, in chunks
// of what one cp.async brings and what one row of an ldmatrix matrix takes.
constexpr int kElementBytes = 2;
constexpr int kChunkBytes = 16;
constexpr int kChunkElements = kChunkBytes / kElementBytes;
constexpr int kRowBytes = kSliceChannels * kElementBytes;
constexpr int kChunksPerRow = kRowBytes / kChunkBytes;
// All 32 banks.
constexpr int kLineBytes = 128;
// Rows after which swizzle() repeats.
constexpr int kSwizzleRows = 8;

// Weight tiles: one in use, two on their way.
constexpr int kStages = 3;
static_assert(kStages == kKernelSize, "the column of a tap in the kernel is also its stage");

/// A block's part of the product, how it is shared out among warps, and for how many blocks an SM's registers
/// are to suffice. The sum of an output is the same in every tile, bit for bit.
template <int kPositions_, int kChannels_, int kWarpPositions_, int kWarpChannels_, int kBlocksPerSm_>
struct MmaTile {
  static constexpr int kPositions = kPositions_;  ///< Output positions of a block.
  static constexpr int kChannels = kChannels_;    ///< Output channels of a block.
  static constexpr int kWarpPositions = kWarpPositions_;
  static constexpr int kWarpChannels = kWarpChannels_;
  static constexpr int kBlocksPerSm = kBlocksPerSm_;
  static constexpr int kChannelWarps = kChannels / kWarpChannels;
  static constexpr int kThreads = kPositions / kWarpPositions * kChannelWarps * kWarpSize;
  static constexpr int kMmaRows = kWarpPositions / kMmaPositions;
  static constexpr int kMmaColumns = kWarpChannels / kMmaChannels;
  static constexpr int kWeightBytes = kChannels * kRowBytes;

  // Copying: a row has kChunksPerRow threads.
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

/// What the host works out once per launch.
struct MmaParams {
  int height;
  int width;
  int in_channels;
  int out_channels;
  int positions;  ///< images * height * width
  int row_pitch;  ///< Rows of the halo tile from those of one row of the kernel to those of the next.
  int halo_rows;  ///< A multiple of kSwizzleRows.
};

// Dynamic shared memory in bytes: a line of zeros, kStages weight tiles, two halo tiles. When all is summed
// up, the output tile takes the place of the weights and halo tiles.
constexpr int kZeros = 0;
constexpr int kWeights = kZeros + kLineBytes;
template <class Tile>
constexpr int kHaloTiles = kWeights + Tile::kWeightBytes* kStages;
constexpr int kOutputs = kWeights;

/// Where in shared memory the chunk lies whose place without swizzling is `offset`: chunks of a row are
/// exchanged so that the same chunk of any 8 rows that follow each other comes from all 32 banks. The offset
/// of the rows must be a multiple of kRowBytes.
__device__ inline int swizzle(int offset) {
  static_assert(kRowBytes == 64 && kChunkBytes == 16, "written for rows of four chunks");
  return offset ^ (offset >> 3 & 0x30);
}

// ---- tile loaders

/// What a thread copies of any rows in shared memory: one chunk of every Tile::kRowsAtOnce-th row.
struct CopyLane {
  int row = static_cast<int>(threadIdx.x / kChunksPerRow);  // The first one.
  int element = static_cast<int>(threadIdx.x % kChunksPerRow) * kChunkElements;
  int destination = swizzle(kWeights + row * kRowBytes + element * kElementBytes);
};

/// Copies the weights of the block's output channels, one tap of one slice at a time.
template <class T, class Tile>
class WeightLoader {
 public:
  __device__ WeightLoader(Global<const T> weights, const MmaParams& params, const CopyLane& lane,
                          int first_channel)
      : weights_(weights),
        in_channels_(params.in_channels),
        source_((first_channel + lane.row) * kTaps * in_channels_ + lane.element),
        destination_(lane.destination) {}

  /// Starts copying; beyond the last slice, zeros.
  template <class Memory>
  __device__ void start(const Memory& memory, int slice, int tap, int stage) const {
    const bool valid = slice * kSliceChannels < in_channels_;
    const int source = source_ + (valid ? tap * in_channels_ + slice * kSliceChannels : 0);
#pragma unroll
    for (int copy = 0; copy < Tile::kWeightCopies; ++copy) {
      const int row = copy * Tile::kRowsAtOnce;
      ptx::cp_async_16(memory + (destination_ + stage * Tile::kWeightBytes + row * kRowBytes),
                       weights_.template vector_address<kChunkElements>(source + row * kTaps * in_channels_),
                       valid);
    }
  }

 private:
  Global<const T> weights_;
  int in_channels_;
  int source_;       // Element of the first slice's first tap; weights have fewer than 2^31.
  int destination_;  // Byte in stage 0.
};

/// Copies halo tiles: a slice of every input position that the block's output positions need. They lie in
/// three runs, one for each row of the kernel, each of Tile::kPositions + 2 positions that follow each other;
/// where the map is narrow the runs overlap and the halo tile is one run.
template <class T, class Tile>
class HaloTileLoader {
 public:
  __device__ HaloTileLoader(Global<const T> input, const MmaParams& params, const CopyLane& lane,
                            int first_position)
      : input_(input),
        in_channels_(params.in_channels),
        positions_(params.positions),
        rows_(params.halo_rows),
        gap_(params.width - params.row_pitch),
        first_position_(first_position - params.width - 1),
        row_(lane.row),
        element_(lane.element),
        destination_(lane.destination + kHaloTiles<Tile> - kWeights) {}

  /// Starts copying one of the Tile::kHaloPieces pieces of a slice's halo tile to `halo`, the byte
  /// where it begins behind kHaloTiles; beyond the last slice, nothing.
  template <class Memory>
  __device__ void start_piece(const Memory& memory, int slice, int piece, int halo) const {
    const bool valid = slice * kSliceChannels < in_channels_;
    const int element = element_ + (valid ? slice * kSliceChannels : 0);
    const int rows = valid ? rows_ : 0;
#pragma unroll
    for (int copy = 0; copy < Tile::kHaloCopies; ++copy) {
      start_row(memory, (piece + copy * Tile::kHaloPieces) * Tile::kRowsAtOnce, rows, element, halo);
    }
  }

  /// Starts copying the whole halo tile of the first slice.
  template <class Memory>
  __device__ void start_first(const Memory& memory) const {
    for (int row = 0; row < rows_; row += Tile::kRowsAtOnce) start_row(memory, row, rows_, element_, 0);
  }

 private:
  template <class Memory>
  __device__ void start_row(const Memory& memory, int row, int rows, int element, int halo) const {
    const auto run = static_cast<unsigned>(row_ + row) / (Tile::kPositions + kKernelSize - 1);
    const int position = first_position_ + row_ + row + static_cast<int>(run) * gap_;
    const bool inside = static_cast<unsigned>(position) < static_cast<unsigned>(positions_);
    const std::int64_t source = static_cast<std::int64_t>(inside ? position : 0) * in_channels_ + element;
    ptx::cp_async_16_if(row_ + row < rows, memory + (destination_ + halo + row * kRowBytes),
                        input_.template vector_address<kChunkElements>(source), inside);
  }

  Global<const T> input_;
  int in_channels_;
  int positions_;
  int rows_;
  int gap_;             // Positions left out between two runs.
  int first_position_;  // Of the halo tile.
  int row_;
  int element_;
  int destination_;
};

// ---- the product

/// What a lane gives to the products of its warp in one step of kMmaDepth input channels.
template <class Tile>
struct MmaFragments {
  std::uint32_t positions[Tile::kMmaRows][4];
  std::uint32_t weights[Tile::kMmaColumns][2];
};

/// The sums of a warp, as ptx::mma_m16n8k16 spreads them over its lanes.
template <class Tile>
using MmaAccumulators = float[Tile::kMmaRows][Tile::kMmaColumns][4];

/// Which thread of the block has what.
template <class Tile>
struct MmaLane {
  int lane = static_cast<int>(threadIdx.x % kWarpSize);
  int warp = static_cast<int>(threadIdx.x / kWarpSize);
  int first_position = warp / Tile::kChannelWarps * Tile::kWarpPositions;
  int first_channel = warp % Tile::kChannelWarps * Tile::kWarpChannels;
  // In each product of the warp: its row (and that + 8) and its column (and that + 1) of the sums.
  int accumulator_row = lane / 4;
  int accumulator_column = lane % 4 * 2;
};

/// Reads fragments of the warp's positions, shifted by a tap, and of the tap's weights. Where a tap leaves
/// the image, lanes read zeros instead of the halo tile.
template <class Tile>
class MmaFragmentLoader {
 public:
  __device__ MmaFragmentLoader(const MmaParams& params, const MmaLane<Tile>& lane, int first_position) {
    // Matrices of positions: rows 0-7 and 8-15 of the first chunk, then of the second one.
    const int row = lane.first_position + lane.lane % 16;
    position_row_ = kHaloTiles<Tile> + row * kRowBytes + lane.lane / 16 * kChunkBytes;
#pragma unroll
    for (int i = 0; i < Tile::kMmaRows; ++i) {
      inside_[i] = taps_inside_at(first_position + row + i * kMmaPositions, params.height, params.width);
    }
    // Matrices of weights: both chunks of rows 0-7, then of rows 8-15.
    const int channel = lane.first_channel + lane.lane / 16 * 8 + lane.lane % 8;
    weights_ = swizzle(kWeights + channel * kRowBytes + lane.lane / 8 % 2 * kChunkBytes);
  }

  /// Chooses a tap: `shift` is the byte in the halo tiles by which its rows are shifted, `tap` has its bit
  /// set.
  __device__ void choose(int shift, unsigned tap) {
    const int row = swizzle(position_row_ + shift);
#pragma unroll
    for (int i = 0; i < Tile::kMmaRows; ++i) {
      static_assert(kMmaPositions % kSwizzleRows == 0, "rows of all products are swizzled alike");
      positions_[i] = (inside_[i] & tap) != 0 ? row + i * kMmaPositions * kRowBytes
                                              : kZeros + (row & (kLineBytes - 1));  // The same banks.
    }
  }

  template <class Memory>
  __device__ void load(MmaFragments<Tile>& fragments, const Memory& memory, int stage, int step) const {
    // Chunk c of a step is chunk 2 * step + c of the row, before and after swizzling.
    const int flip = step * kMmaDepth * kElementBytes;
#pragma unroll
    for (int i = 0; i < Tile::kMmaRows; ++i) {
      ptx::ldmatrix_x4(fragments.positions[i], memory + (positions_[i] ^ flip));
    }
#pragma unroll
    for (int i = 0; i < Tile::kMmaColumns; i += 2) {
      std::uint32_t both[4];
      ptx::ldmatrix_x4(
          both, memory + ((weights_ ^ flip) + stage * Tile::kWeightBytes + i * kMmaChannels * kRowBytes));
      fragments.weights[i][0] = both[0];
      fragments.weights[i][1] = both[1];
      fragments.weights[i + 1][0] = both[2];
      fragments.weights[i + 1][1] = both[3];
    }
  }

 private:
  int position_row_;                 // Byte of the lane's row in halo tile 0, not swizzled.
  unsigned inside_[Tile::kMmaRows];  // Bit 3 r + s: whether tap (r, s) stays in the image.
  int positions_[Tile::kMmaRows];    // Bytes of the tap's rows, swizzled.
  int weights_;                      // Byte of the lane's row in stage 0, swizzled.
};

template <class T, class Tile>
__device__ inline void multiply(MmaAccumulators<Tile>& accumulators, const MmaFragments<Tile>& fragments) {
#pragma unroll
  for (int i = 0; i < Tile::kMmaRows; ++i) {
#pragma unroll
    for (int j = 0; j < Tile::kMmaColumns; ++j) {
      ptx::mma_m16n8k16<T>(accumulators[i][j], fragments.positions[i], fragments.weights[j]);
    }
  }
}

/// Starts the copies that mma_mainloop() begins with: the first slice's halo tile and the weights of the
/// first taps.
template <class T, class Tile, class Memory>
__device__ inline void start_copies(const Memory& memory, const HaloTileLoader<T, Tile>& halo_tiles,
                                    const WeightLoader<T, Tile>& weights) {
  halo_tiles.start_first(memory);
#pragma unroll
  for (int tap = 0; tap < kStages - 1; ++tap) {
    weights.start(memory, 0, tap, tap);
    ptx::cp_async_commit();
  }
}

/// Adds the whole product to the sums. While a tap is multiplied, the weights of the next but one and a piece
/// of the next slice's halo tile are on their way.
template <class T, class Tile, class Memory>
__device__ inline void mma_mainloop(MmaAccumulators<Tile>& accumulators, const Memory& memory,
                                    const MmaParams& params, const HaloTileLoader<T, Tile>& halo_tiles,
                                    const WeightLoader<T, Tile>& weights, MmaFragmentLoader<Tile>& loader) {
  const int slices = params.in_channels / kSliceChannels;
  const int halo_bytes = params.halo_rows * kRowBytes;
  const int pitch_bytes = params.row_pitch * kRowBytes;
  MmaFragments<Tile> fragments[kSteps];
  ptx::cp_async_wait<kStages - 2>();
  __syncthreads();
  loader.choose(0, 1u);
  loader.load(fragments[0], memory, 0, 0);
  int halo = 0;  // Where the slice's halo tile begins.
  for (int slice = 0; slice < slices; ++slice) {
    const int next_halo = halo_bytes - halo;
    int shift = halo;
#pragma unroll 1
    for (int r = 0; r < kKernelSize; ++r) {
#pragma unroll
      for (int s = 0; s < kKernelSize; ++s) {
        const int tap = r * kKernelSize + s;
        loader.load(fragments[1], memory, s, 1);
        // Nobody reads the last tap's weights any more, nor the last slice's halo tile: the barrier has been
        // passed since.
        const int ahead = tap + kStages - 1;
        const bool ahead_wraps = ahead >= kTaps;
        weights.start(memory, slice + (ahead_wraps ? 1 : 0), ahead - (ahead_wraps ? kTaps : 0),
                      (s + kStages - 1) % kStages);
        if (tap < Tile::kHaloPieces) halo_tiles.start_piece(memory, slice + 1, tap, next_halo);
        ptx::cp_async_commit();
        multiply<T, Tile>(accumulators, fragments[0]);

        // The next tap's weights are there, and at the end of a slice the next one's halo tile.
        ptx::cp_async_wait<kStages - 2>();
        __syncthreads();
        if (s + 1 < kKernelSize) {
          loader.choose(shift + (s + 1) * kRowBytes, 1u << (tap + 1));
        } else {
          shift = r + 1 < kKernelSize ? shift + pitch_bytes : next_halo;
          loader.choose(shift, 1u << ((tap + 1) % kTaps));
        }
        loader.load(fragments[0], memory, (s + 1) % kStages, 0);
        multiply<T, Tile>(accumulators, fragments[1]);
      }
    }
    halo = next_halo;
  }
  ptx::cp_async_wait<0>();
  __syncthreads();
}

// ---- epilogue

template <class T>
struct MmaEpilogue {
  Global<T> output;
  Global<std::uint32_t> mask_out;
  Global<const std::uint32_t> mask_in;
  bool relu;
};

/// Stores the block's outputs. They are exchanged through shared memory, so that a thread stores a chunk of
/// one position.
template <class T, class Tile, class Memory>
__device__ inline void store_mma_tile(const MmaEpilogue<T>& epilogue, const Memory& memory,
                                      const MmaAccumulators<Tile>& accumulators, const MmaParams& params,
                                      const MmaLane<Tile>& lane, int first_position, int first_channel) {
  constexpr int kChunks = Tile::kChannels / kChunkElements;  // Of a position.
  constexpr int kPositionsAtOnce = Tile::kThreads / kChunks;
  constexpr int kRounds = Tile::kPositions / kPositionsAtOnce;
  constexpr int kSwizzledChunks = kLineBytes / kChunkBytes;
  static_assert(Tile::kThreads % kChunks == 0 && Tile::kPositions % kPositionsAtOnce == 0,
                "every thread stores equally many chunks");
  static_assert(kChunks % kSwizzledChunks == 0, "a position's chunks are exchanged within lines");
  static_assert(kPositionsAtOnce % kSwizzledChunks == 0 && kMmaPositions / 2 == kSwizzledChunks,
                "all positions of a thread are swizzled alike");
  const int chunk = static_cast<int>(threadIdx.x % kChunks);
  const int tile_position = static_cast<int>(threadIdx.x / kChunks);
  const int position = first_position + tile_position;
  const int words = params.out_channels / 32;
  const int shift = chunk % 4 * kChunkElements;  // Of the chunk's bits in a word.
  const std::int64_t first_word =
      static_cast<std::int64_t>(position) * words + (first_channel / 32 + chunk / 4);

  // Asked for now, used after the exchange.
  std::uint32_t masks_in[kRounds];
  if (epilogue.mask_in) {
#pragma unroll
    for (int round = 0; round < kRounds; ++round) {
      const bool valid = position + round * kPositionsAtOnce < params.positions;
      masks_in[round] = valid ? epilogue.mask_in.load(first_word + round * kPositionsAtOnce * words) : 0;
    }
  }

  const int sum_row = kOutputs + (lane.first_position + lane.accumulator_row) * kChunks * kChunkBytes +
                      lane.accumulator_column * kElementBytes;
#pragma unroll
  for (int j = 0; j < Tile::kMmaColumns; ++j) {
    const int sum_chunk = (lane.first_channel / kChunkElements + j) ^ lane.accumulator_row;
#pragma unroll
    for (int i = 0; i < 2 * Tile::kMmaRows; ++i) {
      const float first = accumulators[i / 2][j][i % 2 * 2];
      const float second = accumulators[i / 2][j][i % 2 * 2 + 1];
      const std::uint32_t pair =
          epilogue.relu ? ptx::relu_pair<T>(first, second) : ptx::round_pair<T>(first, second);
      *reinterpret_cast<std::uint32_t*>(
          &memory[sum_row + (i * kMmaPositions / 2 * kChunks + sum_chunk) * kChunkBytes]) = pair;
    }
  }
  __syncthreads();

  const int own_chunk =
      kOutputs + (tile_position * kChunks + (chunk ^ tile_position % kSwizzledChunks)) * kChunkBytes;
  const std::int64_t first_output =
      static_cast<std::int64_t>(position) * params.out_channels + (first_channel + chunk * kChunkElements);
#pragma unroll
  for (int round = 0; round < kRounds; ++round) {
    const bool valid = position + round * kPositionsAtOnce < params.positions;
    Chunk values = *reinterpret_cast<const Chunk*>(
        &memory[own_chunk + round * kPositionsAtOnce * kChunks * kChunkBytes]);
    if (epilogue.mask_in) apply_mask(values, masks_in[round] >> shift & 0xffu);
    if (valid) {
      epilogue.output.template store_vector<kChunkElements>(
          first_output + round * kPositionsAtOnce * params.out_channels,
          __builtin_bit_cast(Vector<T, kChunkElements>, values));
    }
    if (epilogue.mask_out) {
      std::uint32_t word = above_zero(values) << shift;
      word |= __shfl_xor_sync(kFullWarp, word, 1);
      word |= __shfl_xor_sync(kFullWarp, word, 2);
      if (valid && chunk % 4 == 0)
        epilogue.mask_out.store(first_word + round * kPositionsAtOnce * words, word);
    }
  }
}

// ---- the kernel

/// Blocks of the same positions follow each other, so that they find their input in L2.
template <class T, class Tile>
__global__ void __launch_bounds__(Tile::kThreads, Tile::kBlocksPerSm)
    implicit_gemm_kernel(Global<const T> input, Global<const T> weights, Global<const float> bias,
                         Global<T> output, Global<std::uint32_t> mask_out,
                         Global<const std::uint32_t> mask_in, MmaParams params) {
  FILTERSCOPE_DYNAMIC_SHARED(unsigned char, memory);
  const int block = static_cast<int>(blockIdx.x);
  const int channel_tiles = params.out_channels / Tile::kChannels;
  const int first_position = block / channel_tiles * Tile::kPositions;
  const int first_channel = block % channel_tiles * Tile::kChannels;
  const CopyLane copy_lane;
  const HaloTileLoader<T, Tile> halo_tiles(input, params, copy_lane, first_position);
  const WeightLoader<T, Tile> filters(weights, params, copy_lane, first_channel);
  start_copies<T, Tile>(memory, halo_tiles, filters);
  if (threadIdx.x < kLineBytes) memory[kZeros + threadIdx.x] = 0;

  const MmaLane<Tile> lane;
  MmaFragmentLoader<Tile> loader(params, lane, first_position);
  MmaAccumulators<Tile> accumulators;
#pragma unroll
  for (int j = 0; j < Tile::kMmaColumns; ++j) {
    const int channel = first_channel + lane.first_channel + j * kMmaChannels + lane.accumulator_column;
    const float first = bias ? bias.load(channel) : 0.f;
    const float second = bias ? bias.load(channel + 1) : 0.f;
#pragma unroll
    for (int i = 0; i < Tile::kMmaRows; ++i) {
      accumulators[i][j][0] = accumulators[i][j][2] = first;
      accumulators[i][j][1] = accumulators[i][j][3] = second;
    }
  }
  mma_mainloop<T, Tile>(accumulators, memory, params, halo_tiles, filters, loader);
  store_mma_tile<T, Tile>({output, mask_out, mask_in, static_cast<bool>(bias)}, memory, accumulators, params,
                          lane, first_position, first_channel);
}

// ---- launch

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

/// Whether a block can hold the halo tiles of maps of this width, and copy them in time.
template <class Tile>
constexpr bool takes(int width) {
  constexpr int kMostSharedBytes = 99 * 1024;  // Of a block on sm_86 and sm_89; others have more.
  return halo_rows<Tile>(width) <= Tile::kHaloCapacity && shared_bytes<Tile>(width) <= kMostSharedBytes;
}

/// Positions are counted in int: 2^31 of them with 64 channels would take 256 GiB.
template <class T, class Tile>
void launch_tile(const ConvolutionArguments<T>& arguments, cudaStream_t stream) {
  const MmaParams params{.height = arguments.height,
                         .width = arguments.width,
                         .in_channels = arguments.in_channels,
                         .out_channels = arguments.out_channels,
                         .positions = arguments.images_count * arguments.height * arguments.width,
                         .row_pitch = row_pitch<Tile>(arguments.width),
                         .halo_rows = halo_rows<Tile>(arguments.width)};
  const int blocks =
      ceil_div(params.positions, Tile::kPositions) * (arguments.out_channels / Tile::kChannels);
  launch("convolution_implicit_gemm", implicit_gemm_kernel<T, Tile>,
         {dim3(static_cast<unsigned>(blocks)), dim3(Tile::kThreads),
          static_cast<std::size_t>(shared_bytes<Tile>(arguments.width))},
         stream, arguments.input, arguments.weights, arguments.bias, arguments.output, arguments.mask_out,
         arguments.mask_in, params);
}

// With two blocks on an SM one computes while the other starts or stores. Of 164 KiB of shared memory per SM
// (sm_80) they need at most 156; where an SM has 100 KiB (sm_86, sm_89) only narrow maps leave room for both.
using Tile128x128 = MmaTile<128, 128, 64, 64, 2>;
using Tile256x64 = MmaTile<256, 64, 64, 64, 2>;
using Tile128x64 = MmaTile<128, 64, 64, 32, 3>;
using Tile256x128 = MmaTile<256, 128, 64, 64, 1>;

constexpr int kAnyWidth = std::numeric_limits<int>::max();
static_assert(takes<Tile128x128>(kAnyWidth) && takes<Tile128x64>(kAnyWidth));

}  // namespace

template <class T>
void convolution_implicit_gemm(const ConvolutionArguments<T>& arguments, cudaStream_t stream) {
  if (arguments.out_channels % Tile128x128::kChannels == 0) {
    launch_tile<T, Tile128x128>(arguments, stream);
  } else if (takes<Tile256x64>(arguments.width)) {
    launch_tile<T, Tile256x64>(arguments, stream);
  } else {
    launch_tile<T, Tile128x64>(arguments, stream);
  }
}

template <class T>
void convolution_implicit_gemm_small(const ConvolutionArguments<T>& arguments, cudaStream_t stream) {
  launch_tile<T, Tile128x64>(arguments, stream);
}

template <class T>
void convolution_implicit_gemm_large(const ConvolutionArguments<T>& arguments, cudaStream_t stream) {
  if (takes<Tile256x128>(arguments.width)) {
    launch_tile<T, Tile256x128>(arguments, stream);
  } else {
    launch_tile<T, Tile128x128>(arguments, stream);
  }
}

template void convolution_implicit_gemm<Half>(const ConvolutionArguments<Half>&, cudaStream_t);
template void convolution_implicit_gemm<Bfloat16>(const ConvolutionArguments<Bfloat16>&, cudaStream_t);
template void convolution_implicit_gemm_small<Half>(const ConvolutionArguments<Half>&, cudaStream_t);
template void convolution_implicit_gemm_small<Bfloat16>(const ConvolutionArguments<Bfloat16>&, cudaStream_t);
template void convolution_implicit_gemm_large<Half>(const ConvolutionArguments<Half>&, cudaStream_t);
template void convolution_implicit_gemm_large<Bfloat16>(const ConvolutionArguments<Bfloat16>&, cudaStream_t);

}  // namespace filterscope::kernels
