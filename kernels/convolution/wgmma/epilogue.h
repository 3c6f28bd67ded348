#pragma once

#include <cstdint>

#include "../../common/chunk.h"
#include "../../common/global.h"
#include "../../common/transpose.h"
#include "../../pool/pool_indices.h"
#include "../../ptx/convert.h"
#include "mainloop.h"
#include "tile_scheduler.h"

/// Stores a tile's accumulators: bias, ReLU, masks, pool and rounding.
namespace filterscope::kernels::wgmma {

template <class T>
struct Epilogue {
  Global<T> output;
  Global<std::uint32_t> mask_out;
  Global<const std::uint32_t> mask_in;
  Global<const float> bias;      ///< Null: neither bias nor ReLU.
  Global<std::uint16_t> argmax;  ///< Per chunk of a pool's output.
  Global<std::uint8_t> active;   ///< Per chunk of a pool's output.
};

/// The biases of a lane's chunk in a word of channels.
using LaneBias = float[kChunkElements];

template <class T>
__device__ inline void load_bias(LaneBias& bias, const Epilogue<T>& epilogue, const Lane& lane,
                                 int first_channel) {
  constexpr int kAtOnce = 4;
#pragma unroll
  for (int i = 0; i < kChunkElements; i += kAtOnce) {
    const auto part =
        epilogue.bias.template load_vector<kAtOnce>(first_channel + lane.quad_lane * kChunkElements + i);
#pragma unroll
    for (int j = 0; j < kAtOnce; ++j) bias[i + j] = part[j];
  }
}

/// Index, among a thread's accumulators of a product, of the first element of pair `pair` in the thread's
/// chunk of `word`, in the upper (half = 0) or lower eight rows.
template <class Tile>
__device__ constexpr int accumulator_index(int word, int pair, int half) {
  return (pair * Tile::kWords + word) * 4 + half * 2;
}

/// With kGradient there is neither bias nor mask_out.
template <class T, class Tile, bool kGradient>
__device__ inline void store_tile(const Epilogue<T>& epilogue, const Accumulators<Tile>& accumulators,
                                  const Params& params, const Lane& lane, int first_window,
                                  int first_channel) {
  constexpr int kRows = 2 * kProducts;  // Rows of a lane.
  constexpr int kOutside = -1;
  const bool has_bias = !kGradient && epilogue.bias;
  const bool has_mask_out = !kGradient && epilogue.mask_out;
  const int words = params.out_channels / 32;
  // A lane's rows of a product belong to two windows.
  int positions[kRows];
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int window = first_window + lane.first_window + half * (kWarpWindows / 2) + lane.quad / 2;
    const Windows::Origin origin = params.windows.origin(window);
    const int x = lane.quad % 2;
    const bool inside = window < params.windows_count && origin.x + x < params.width;
#pragma unroll
    for (int product = 0; product < kProducts; ++product) {
      positions[2 * product + half] = inside && origin.y + product < params.height
                                          ? origin.position + product * params.width + x
                                          : kOutside;
    }
  }
  const auto word_of = [&](int position) {
    return static_cast<std::int64_t>(position) * words + (first_channel / 32 + lane.quad_lane);
  };
  const bool has_word = lane.quad_lane < Tile::kWords;
  std::uint32_t masks_in[kRows];  // One byte per word.
#pragma unroll
  for (int row = 0; row < kRows; ++row) {
    const bool wanted = epilogue.mask_in && has_word && positions[row] != kOutside;
    masks_in[row] = wanted ? epilogue.mask_in.load(word_of(positions[row])) : 0;
    if (epilogue.mask_in) masks_in[row] = transpose_bytes(masks_in[row], lane.quad_lane);
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
            first + word * 32 + lane.quad_lane * kChunkElements,
            __builtin_bit_cast(Vector<T, kChunkElements>, chunk));
      }
      if (has_mask_out) masks_out[row] |= above_zero(chunk) << 8 * word;
    }
  }
  if (has_mask_out) {
#pragma unroll
    for (int row = 0; row < kRows; ++row) {
      const std::uint32_t mask_out = transpose_bytes(masks_out[row], lane.quad_lane);
      if (has_word && positions[row] != kOutside) epilogue.mask_out.store(word_of(positions[row]), mask_out);
    }
  }
}

/// Stores the 2x2 max-pool of a tile. A lane holds the left or the right elements of two windows, numbers
/// quad / 2 of the first four and of the second four. It exchanges half of them with its neighbour and then
/// holds one whole window.
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
        const std::uint32_t own_half = right == 0 ? first_half : second_half;
        const std::uint32_t other_half =
            __shfl_xor_sync(kFullWarp, right == 0 ? second_half : first_half, kQuadLanes);
        elements[2 * product] = right == 0 ? own_half : other_half;
        elements[2 * product + 1] = right == 0 ? other_half : own_half;
      }
      const PooledWord result = pool_word(elements);
      chunk[i] = result.values;
      argmax |= result.argmax << 4 * i;
    }
    if (!inside) continue;
    const std::int64_t at = first + word * 32 + lane.quad_lane * kChunkElements;
    epilogue.output.template store_vector<kChunkElements>(
        at, __builtin_bit_cast(Vector<T, kChunkElements>, chunk));
    epilogue.argmax.store(at / kChunkElements, static_cast<std::uint16_t>(argmax));
    epilogue.active.store(at / kChunkElements, static_cast<std::uint8_t>(above_zero(chunk)));
  }
}

}  // namespace filterscope::kernels::wgmma
