#pragma once

#include <cstdint>

#include "../../common/taps.h"
#include "../../ptx/cp_async.h"
#include "../../ptx/ldmatrix.h"
#include "../../ptx/mma.h"
#include "tile_loaders.h"

/// The products of a tile: fragments from shared memory, multiplied while the next tiles are copied.
namespace filterscope::kernels::implicit_gemm {

/// A lane's operands for the products of its warp in one step of kMmaDepth input channels.
template <class Tile>
struct MmaFragments {
  std::uint32_t positions[Tile::kMmaRows][4];
  std::uint32_t weights[Tile::kMmaColumns][2];
};

/// A lane's share of the warp's accumulators, as ptx::mma_m16n8k16 distributes them.
template <class Tile>
using MmaAccumulators = float[Tile::kMmaRows][Tile::kMmaColumns][4];

/// The positions and channels of the output tile that a thread computes.
template <class Tile>
struct MmaLane {
  int lane = static_cast<int>(threadIdx.x % kWarpSize);
  int warp = static_cast<int>(threadIdx.x / kWarpSize);
  int first_position = warp / Tile::kChannelWarps * Tile::kWarpPositions;
  int first_channel = warp % Tile::kChannelWarps * Tile::kWarpChannels;
  // In each product of the warp, the lane has this row and the 8th after it, this column and the next.
  int accumulator_row = lane / 4;
  int accumulator_column = lane % 4 * 2;
};

/// Loads fragments of the warp's positions, shifted by a tap, and of the tap's weights. Where a tap leaves
/// the image, lanes read zeros instead of the halo tile.
template <class Tile>
class MmaFragmentLoader {
 public:
  __device__ MmaFragmentLoader(const MmaParams& params, const MmaLane<Tile>& lane, int first_position) {
    // Matrices of positions: rows 0-7 and 8-15 of the first chunk, then of the second.
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

  /// Selects a tap: `shift` is the byte offset of its rows in the halo tiles, `tap` its bit in a mask of
  /// taps.
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
    // Chunk c of a step is chunk 2 * step + c of the row; the XOR selects it before or after swizzling.
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
  int position_row_;                 // Byte offset of the lane's row in halo tile 0, not swizzled.
  unsigned inside_[Tile::kMmaRows];  // Bit 3 r + s: tap (r, s) stays in the image.
  int positions_[Tile::kMmaRows];    // Byte offsets of the tap's rows, swizzled.
  int weights_;                      // Byte offset of the lane's row in stage 0, swizzled.
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

/// Starts the first copies that mma_mainloop() waits for: the first slice's halo tile and the weights of the
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

/// Adds the whole product to the accumulators. While a tap is multiplied, the weights of the next but one and
/// a piece of the next slice's halo tile are in flight.
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
  int halo = 0;  // Byte offset of the slice's halo tile.
  for (int slice = 0; slice < slices; ++slice) {
    const int next_halo = halo_bytes - halo;
    int shift = halo;
#pragma unroll 1
    for (int r = 0; r < kKernelSize; ++r) {
#pragma unroll
      for (int s = 0; s < kKernelSize; ++s) {
        const int tap = r * kKernelSize + s;
        loader.load(fragments[1], memory, s, 1);
        // All threads have passed the barrier since they read the previous tap's weights and the previous
        // slice's halo tile, so both may be overwritten.
        const int ahead = tap + kStages - 1;
        const bool ahead_wraps = ahead >= kTaps;
        weights.start(memory, slice + (ahead_wraps ? 1 : 0), ahead - (ahead_wraps ? kTaps : 0),
                      (s + kStages - 1) % kStages);
        if (tap < Tile::kHaloPieces) halo_tiles.start_piece(memory, slice + 1, tap, next_halo);
        ptx::cp_async_commit();
        multiply<T, Tile>(accumulators, fragments[0]);

        // After this the next tap's weights have arrived and, at the end of a slice, the next halo tile.
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

}  // namespace filterscope::kernels::implicit_gemm
