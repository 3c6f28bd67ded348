#pragma once

#include <cstdint>

#include "../../common/global.h"
#include "../../ptx/cp_async.h"
#include "tile.h"

/// Copies of weights and halo tiles from device to shared memory, by cp.async.
namespace filterscope::kernels::implicit_gemm {

/// The chunks that a thread copies: one in every Tile::kRowsAtOnce-th row of shared memory.
struct CopyLane {
  int row = static_cast<int>(threadIdx.x / kChunksPerRow);  // The first.
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

  /// Starts the copy of a slice's tap to a stage; beyond the last slice it writes zeros.
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
  int source_;       // Element index in the first slice's first tap; weights have fewer than 2^31 elements.
  int destination_;  // Byte offset in stage 0.
};

/// Copies halo tiles: a slice of every input position that the block's output positions need. These form
/// three runs, one for each row of the 3x3 kernel, each of Tile::kPositions + 2 consecutive positions; on
/// narrow maps the runs overlap and the halo tile is a single run.
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

  /// Starts the copy of one of the Tile::kHaloPieces pieces of a slice's halo tile to byte `halo` after
  /// kHaloTiles; beyond the last slice it does nothing.
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

  /// Starts the copy of the first slice's whole halo tile.
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
  int gap_;             // Positions skipped between two runs.
  int first_position_;  // First position of the halo tile.
  int row_;
  int element_;
  int destination_;
};

}  // namespace filterscope::kernels::implicit_gemm
