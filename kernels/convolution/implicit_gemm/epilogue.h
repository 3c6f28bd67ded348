#pragma once

#include <cstdint>

#include "../../common/chunk.h"
#include "../../common/global.h"
#include "../../ptx/convert.h"
#include "mainloop.h"

/// Stores a tile's accumulators, which already include the bias: ReLU, masks and rounding.
namespace filterscope::kernels::implicit_gemm {

template <class T>
struct MmaEpilogue {
  Global<T> output;
  Global<std::uint32_t> mask_out;
  Global<const std::uint32_t> mask_in;
  bool relu;
};

/// Stores the block's outputs. Threads exchange them through shared memory, so that each stores whole chunks.
template <class T, class Tile, class Memory>
__device__ inline void store_mma_tile(const MmaEpilogue<T>& epilogue, const Memory& memory,
                                      const MmaAccumulators<Tile>& accumulators, const MmaParams& params,
                                      const MmaLane<Tile>& lane, int first_position, int first_channel) {
  constexpr int kChunks = Tile::kChannels / kChunkElements;  // Per position.
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
  const int shift = chunk % 4 * kChunkElements;  // Place of the chunk's bits in a word of the mask.
  const std::int64_t first_word =
      static_cast<std::int64_t>(position) * words + (first_channel / 32 + chunk / 4);

  // Loaded now, used after the exchange.
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

  const int chunk_offset =
      kOutputs + (tile_position * kChunks + (chunk ^ tile_position % kSwizzledChunks)) * kChunkBytes;
  const std::int64_t first_output =
      static_cast<std::int64_t>(position) * params.out_channels + (first_channel + chunk * kChunkElements);
#pragma unroll
  for (int round = 0; round < kRounds; ++round) {
    const bool valid = position + round * kPositionsAtOnce < params.positions;
    Chunk values = *reinterpret_cast<const Chunk*>(
        &memory[chunk_offset + round * kPositionsAtOnce * kChunks * kChunkBytes]);
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

}  // namespace filterscope::kernels::implicit_gemm
