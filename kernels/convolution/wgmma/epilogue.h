#pragma once

#include <cstdint>

#include "../../common/chunk.h"
#include "../../common/global.h"
#include "../../common/transpose.h"
#include "../../pool/pool_indices.h"
#include "../../ptx/convert.h"
#include "mainloop.h"
#include "tile_scheduler.h"

/// What becomes of a tile's sums, on their way from registers to memory.
namespace filterscope::kernels::wgmma {

template <class T>
struct Epilogue {
  Global<T> output;
  Global<std::uint32_t> mask_out;
  Global<const std::uint32_t> mask_in;
  Global<const float> bias;      ///< And ReLU.
  Global<std::uint16_t> argmax;  ///< Of a pool, of a chunk.
  Global<std::uint8_t> active;   ///< Of a chunk.
};

/// The biases of the chunk that a lane has of a word.
using LaneBias = float[kChunkElements];

template <class T>
__device__ inline void load_bias(LaneBias& bias, const Epilogue<T>& epilogue, const Lane& lane,
                                 int first_channel) {
  constexpr int kAtOnce = 4;
#pragma unroll
  for (int i = 0; i < kChunkElements; i += kAtOnce) {
    const auto part =
        epilogue.bias.template load_vector<kAtOnce>(first_channel + lane.in_quad * kChunkElements + i);
#pragma unroll
    for (int j = 0; j < kAtOnce; ++j) bias[i + j] = part[j];
  }
}

/// Which of a thread's sums of a product is the first of pair `pair` of the chunk that it has of `word`, of
/// the upper or the lower eight rows.
template <class Tile>
__device__ constexpr int accumulator_index(int word, int pair, int half) {
  return (pair * Tile::kWords + word) * 4 + half * 2;
}

/// With `kGradient` there is neither bias nor mask.
template <class T, class Tile, bool kGradient>
__device__ inline void store_tile(const Epilogue<T>& epilogue, const Accumulators<Tile>& accumulators,
                                  const Params& params, const Lane& lane, int first_window,
                                  int first_channel) {
  constexpr int kRows = 2 * kProducts;  // Of a lane.
  constexpr int kOutside = -1;
  const bool has_bias = !kGradient && epilogue.bias;
  const bool has_mask_out = !kGradient && epilogue.mask_out;
  const int words = params.out_channels / 32;
  // A lane's rows of a product belong to two windows.
  int positions[kRows];
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int window = first_window + lane.first_window + half * (kWarpWindows / 2) + lane.quad / 2;
    const Windows::Place place = params.windows.place(window);
    const int x = lane.quad % 2;
    const bool inside = window < params.windows_count && place.x + x < params.width;
#pragma unroll
    for (int product = 0; product < kProducts; ++product) {
      positions[2 * product + half] = inside && place.y + product < params.height
                                          ? place.position + product * params.width + x
                                          : kOutside;
    }
  }
  const auto word_of = [&](int position) {
    return static_cast<std::int64_t>(position) * words + (first_channel / 32 + lane.in_quad);
  };
  const bool has_word = lane.in_quad < Tile::kWords;
  std::uint32_t masks_in[kRows];  // A byte for each word.
#pragma unroll
  for (int row = 0; row < kRows; ++row) {
    const bool wanted = epilogue.mask_in && has_word && positions[row] != kOutside;
    masks_in[row] = wanted ? epilogue.mask_in.load(word_of(positions[row])) : 0;
    if (epilogue.mask_in) masks_in[row] = transpose_bytes(masks_in[row], lane.in_quad);
  }
  std::uint32_t masks_out[kRows] = {};  // Likewise.
#pragma unroll
  for (int word = 0; word < Tile::kWords; ++word) {
    LaneBias bias = {};
    if (has_bias) load_bias(bias, epilogue, lane, first_channel + word * 32);
#pragma unroll
    for (int row = 0; row < kRows; ++row) {
      Chunk chunk;
#pragma unroll
      for (int i = 0; i < kQuarters; ++i) {
        const int sum = accumulator_index<Tile>(word, i, row % 2);
        float first = accumulators[row / 2][sum];
        float second = accumulators[row / 2][sum + 1];
        if constexpr (!kGradient) {
          first += bias[2 * i];
          second += bias[2 * i + 1];
        }
        chunk[i] = has_bias ? ptx::relu_pair<T>(first, second)
                            : __builtin_bit_cast(std::uint32_t,
                                                 Vector<T, 2>{from_float<T>(first), from_float<T>(second)});
      }
      if (epilogue.mask_in) apply_mask(chunk, masks_in[row] >> 8 * word & 0xffu);
      if (positions[row] != kOutside) {
        const std::int64_t first =
            static_cast<std::int64_t>(positions[row]) * params.out_channels + first_channel;
        epilogue.output.template store_vector<kChunkElements>(
            first + word * 32 + lane.in_quad * kChunkElements,
            __builtin_bit_cast(Vector<T, kChunkElements>, chunk));
      }
      if (has_mask_out) masks_out[row] |= above_zero(chunk) << 8 * word;
    }
  }
  if (has_mask_out) {
#pragma unroll
    for (int row = 0; row < kRows; ++row) {
      const std::uint32_t mask_out = transpose_bytes(masks_out[row], lane.in_quad);
      if (has_word && positions[row] != kOutside) epilogue.mask_out.store(word_of(positions[row]), mask_out);
    }
  }
}

/// The same for a pool's output. A lane has of two windows the left elements or the right ones; it gets the
/// others of one of them from the lane beside it, quad / 2 of the first four or of the second four.
template <class T, class Tile>
__device__ inline void store_pooled_tile(const Epilogue<T>& epilogue, const Accumulators<Tile>& accumulators,
                                         const Params& params, const Lane& lane, int first_window,
                                         int first_channel) {
  const int right = lane.quad % 2;
  const int window = first_window + lane.first_window + right * (kWarpWindows / 2) + lane.quad / 2;
  const bool inside = window < params.windows_count;
  const std::int64_t first = static_cast<std::int64_t>(window) * params.out_channels + first_channel;
#pragma unroll
  for (int word = 0; word < Tile::kWords; ++word) {
    LaneBias bias;
    load_bias(bias, epilogue, lane, first_channel + word * 32);
    Chunk chunk;
    std::uint32_t argmax = 0;
#pragma unroll
    for (int i = 0; i < kQuarters; ++i) {
      const auto pair = [&](int product, int half) {
        const int sum = accumulator_index<Tile>(word, i, half);
        return ptx::relu_pair<T>(accumulators[product][sum] + bias[2 * i],
                                 accumulators[product][sum + 1] + bias[2 * i + 1]);
      };
      std::uint32_t elements[kPoolWindow];
#pragma unroll
      for (int product = 0; product < kProducts; ++product) {
        const std::uint32_t first_half = pair(product, 0);
        const std::uint32_t second_half = pair(product, 1);
        const std::uint32_t own = right == 0 ? first_half : second_half;
        const std::uint32_t beside =
            __shfl_xor_sync(kFullWarp, right == 0 ? second_half : first_half, kQuadLanes);
        elements[2 * product] = right == 0 ? own : beside;
        elements[2 * product + 1] = right == 0 ? beside : own;
      }
      const PooledWord result = pool_word(elements);
      chunk[i] = result.values;
      argmax |= result.argmax << 4 * i;
    }
    if (!inside) continue;
    const std::int64_t at = first + word * 32 + lane.in_quad * kChunkElements;
    epilogue.output.template store_vector<kChunkElements>(
        at, __builtin_bit_cast(Vector<T, kChunkElements>, chunk));
    epilogue.argmax.store(at / kChunkElements, static_cast<std::uint16_t>(argmax));
    epilogue.active.store(at / kChunkElements, static_cast<std::uint8_t>(above_zero(chunk)));
  }
}

}  // namespace filterscope::kernels::wgmma
