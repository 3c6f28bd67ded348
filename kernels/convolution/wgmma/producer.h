#pragma once

#include <cstdint>

#include "../../common/chunk.h"
#include "../../common/global.h"
#include "../../common/ring.h"
#include "../../common/tensor_map.h"
#include "../../pool/pool_indices.h"
#include "../../ptx/tma.h"
#include "tile_scheduler.h"

/// Producer warps: they bring input and weights to shared memory.
namespace filterscope::kernels::wgmma {

/// One thread starts all TMA copies of the block, each as soon as a buffer is free. Weights come column by
/// column of the taps.
template <class Tile, FusedPool kPool, class Memory>
__device__ inline void load_by_tma(const Memory& memory, const Params& params, const TensorMap& input,
                                   const TensorMap& weights, Ring<Memory>& halo_tiles, Ring<Memory>& stages) {
  const int first_halo = kWeights + params.stages * Tile::kStageBytes;
  const int box_bytes = params.box_rows * kRowBytes;
  if constexpr (kPool != FusedPool::input) ptx::tma_prefetch(input);
  ptx::tma_prefetch(weights);
  for (TileScheduler<Tile> scheduler; scheduler.more(params); scheduler.advance()) {
    const int first = scheduler.template halo_position<kPool>(params);
    for (int slice = 0; slice < params.slices; ++slice) {
      if constexpr (kPool != FusedPool::input) {
        halo_tiles.wait_empty();
        void* const halo_full = halo_tiles.expect(params.halo_bytes());
        const int halo = first_halo + halo_tiles.index() * params.halo_bytes();
        for (int box = 0; box < params.boxes; ++box) {
          ptx::tma_load(memory + (halo + box * box_bytes), input, first + box * params.box_rows,
                        slice * kSliceChannels, halo_full);
        }
        halo_tiles.advance();
      }
      if (params.resident_weights && !scheduler.first()) continue;
      for (int column = 0; column < kKernelSize; ++column) {
        for (int tap = column; tap < kTaps; tap += kKernelSize) {
          stages.wait_empty();
          void* const stage_full = stages.expect(Tile::kStageBytes);
          const int stage = kWeights + stages.index() * Tile::kStageBytes;
          for (int quarter = 0; quarter < kQuarters; ++quarter) {
            ptx::tma_load_pairs(memory + (stage + quarter * Tile::kQuarterBytes), weights,
                                scheduler.first_channel(params) + 2 * quarter,
                                (tap * params.slices + slice) * kSliceChannels, stage_full);
          }
          stages.advance();
        }
      }
    }
  }
}

/// The gradient of a pool's output, and the indices that lead it back through the pool.
template <class T>
struct PoolGradient {
  Global<const T> gradient;
  Global<const std::uint16_t> argmax;  ///< Per chunk.
  Global<const std::uint8_t> active;   ///< Per chunk.
  int channels;
};

/// The remaining producer warps compute the halo tiles: the gradient of the pool's output, taken through pool
/// and ReLU.
template <class T, class Tile, class Memory>
__device__ inline void unpool_halo_tiles(const Memory& memory, const Params& params,
                                         const PoolGradient<T>& source, Ring<Memory>& halo_tiles) {
  // A thread computes pairs of adjacent positions, half a window each, for one chunk of channels.
  constexpr int kChunks = kSliceChannels / kChunkElements;
  constexpr int kPairs = Tile::kHaloProducerWarps * kWarpSize / kChunks;  // Computed at a time.
  constexpr int kUnrolled = 2;                                            // As many as registers allow.
  static_assert(2 * kPairs % kSwizzleRows == 0, "all rows of a thread are swizzled alike");
  const int thread = static_cast<int>(threadIdx.x) - (Tile::kTmaWarp + 1) * kWarpSize;
  const int chunk = thread % kChunks;
  const int thread_pair = thread / kChunks;
  const int thread_row = 2 * thread_pair;
  const int to = kWeights + params.stages * Tile::kStageBytes + thread_row * kRowBytes;
  const int left = (chunk ^ (thread_row & (kSwizzleRows - 1))) * kChunkBytes;
  const int right = kRowBytes + (chunk ^ ((thread_row + 1) & (kSwizzleRows - 1))) * kChunkBytes;
  const int columns = params.windows.columns().divisor();
  const int pairs = params.halo_rows() / 2;
  const int all_pairs = params.windows_count * 2;
  for (TileScheduler<Tile> scheduler; scheduler.more(params); scheduler.advance()) {
    const int first_pair = scheduler.template halo_position<FusedPool::input>(params) / 2;
    for (int slice = 0; slice < params.slices; ++slice) {
      halo_tiles.wait_empty();
      const int halo = to + halo_tiles.index() * params.halo_bytes();
      const int first_chunk = slice * kChunks + chunk;
      for (int done = 0; thread_pair + done < pairs; done += kUnrolled * kPairs) {
        Chunk gradient[kUnrolled] = {};
        std::uint32_t argmax[kUnrolled] = {};
        std::uint32_t active[kUnrolled] = {};
        int row_of_window[kUnrolled] = {};
#pragma unroll
        for (int i = 0; i < kUnrolled; ++i) {
          const int pair = first_pair + thread_pair + done + i * kPairs;
          if (pair < 0 || pair >= all_pairs) continue;
          const int line = params.windows.columns().quotient(pair);  // Row of the maps, over all images.
          row_of_window[i] = line % 2;
          const int window = line / 2 * columns + pair - line * columns;
          const std::int64_t at =
              static_cast<std::int64_t>(window) * (source.channels / kChunkElements) + first_chunk;
          gradient[i] = __builtin_bit_cast(
              Chunk, source.gradient.template load_vector<kChunkElements>(at * kChunkElements));
          argmax[i] = source.argmax.load(at);
          active[i] = source.active.load(at);
        }
#pragma unroll
        for (int i = 0; i < kUnrolled; ++i) {
          if (thread_pair + done + i * kPairs >= pairs) continue;
          const int pair_at = halo + (done + i * kPairs) * 2 * kRowBytes;
          const auto store = [&](int at, int column) {
            *reinterpret_cast<Chunk*>(&memory[pair_at + at]) =
                unpool_chunk(gradient[i], argmax[i], active[i], 2 * row_of_window[i] + column);
          };
          store(left, 0);
          store(right, 1);
        }
      }
      // One lane arrives for its warp. compute-sanitizer's racecheck does not model this, and reports the
      // halo tiles.
      __syncwarp();
      if (thread % kWarpSize == 0) halo_tiles.fill();
      halo_tiles.advance();
    }
  }
}

}  // namespace filterscope::kernels::wgmma
