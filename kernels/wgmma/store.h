#pragma once

#include <cstdint>

#include "../common/chunk.h"
#include "../common/global.h"
#include "../common/pool_bits.h"
#include "../common/reduce.h"
#include "../ptx/convert.h"
#include "multiply.h"
#include "tile.h"

/// What becomes of a tile's sums, on their way from registers to memory.
namespace filterscope::kernels::wgmma {

template <class T>
struct Outputs {
  Global<T> output;
  Global<std::uint32_t> mask;
  Global<const std::uint32_t> gate;
  Global<const float> bias;       ///< And ReLU.
  Global<std::uint32_t> winners;  ///< Of a pool.
  Global<std::uint32_t> open;
};

/// The biases of a word's channels that a lane has sums of.
using LaneBias = Vector<float, 2>[kQuadLanes];
constexpr int kQuadColumns = 8;  // That a quad has together.

template <class T>
__device__ inline void load_bias(LaneBias& bias, const Outputs<T>& outputs, const Lane& lane,
                                 int first_channel) {
#pragma unroll
  for (int i = 0; i < kQuadLanes; ++i) {
    bias[i] = outputs.bias.template load_vector<2>(first_channel + i * kQuadColumns + lane.in_quad * 2);
  }
}

/// Lane i of each quad gets word i of its lanes, in their order.
__device__ inline void transpose_quad(std::uint32_t (&words)[kQuadLanes], int in_quad) {
#pragma unroll
  for (int distance = 1; distance < kQuadLanes; distance *= 2) {
    const bool upper = (in_quad & distance) != 0;
#pragma unroll
    for (int i = 0; i < kQuadLanes; ++i) {
      if ((i & distance) != 0) continue;
      const std::uint32_t given = upper ? words[i] : words[i + distance];
      const std::uint32_t taken = __shfl_xor_sync(kFullWarp, given, distance);
      if (upper) {
        words[i] = taken;
      } else {
        words[i + distance] = taken;
      }
    }
  }
}

/// With `kGradient` there is neither bias nor mask.
template <class T, class Tile, bool kGradient>
__device__ inline void store_tile(const Outputs<T>& outputs, const Sums<Tile>& sums, const Geometry& geometry,
                                  const Lane& lane, int first_window, int first_channel) {
  constexpr int kRows = 2 * kProducts;  // Of a lane.
  constexpr int kOutside = -1;
  const bool has_bias = !kGradient && outputs.bias;
  const bool has_mask = !kGradient && outputs.mask;
  const int words = geometry.out_channels / 32;
  const int shift = lane.in_quad * kChunkElements;  // Of the lane's bits in a word.
  // A lane's rows of a product belong to two windows.
  int positions[kRows];
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int window = first_window + lane.first_window + half * (kWarpWindows / 2) + lane.quad / 2;
    const Windows::Place place = geometry.windows.place(window);
    const int x = lane.quad % 2;
    const bool inside = window < geometry.windows_count && place.x + x < geometry.width;
#pragma unroll
    for (int product = 0; product < kProducts; ++product) {
      positions[2 * product + half] = inside && place.y + product < geometry.height
                                          ? place.position + product * geometry.width + x
                                          : kOutside;
    }
  }
  const auto word_of = [&](int position) {
    return static_cast<std::int64_t>(position) * words + (first_channel / 32 + lane.in_quad);
  };
  const bool has_word = lane.in_quad < Tile::kWords;
  std::uint32_t gates[kRows];
#pragma unroll
  for (int row = 0; row < kRows; ++row) {
    const bool wanted = outputs.gate && has_word && positions[row] != kOutside;
    gates[row] = wanted ? outputs.gate.load(word_of(positions[row])) : 0;
  }
  std::uint32_t masks[kRows] = {};
#pragma unroll
  for (int word = 0; word < Tile::kWords; ++word) {
    LaneBias bias = {};
    if (has_bias) load_bias(bias, outputs, lane, first_channel + word * 32);
#pragma unroll
    for (int row = 0; row < kRows; ++row) {
      std::uint32_t pairs[kQuadLanes];
#pragma unroll
      for (int i = 0; i < kQuadLanes; ++i) {
        const int sum = (word * kQuadLanes + i) * 4 + row % 2 * 2;
        float first = sums[row / 2][sum];
        float second = sums[row / 2][sum + 1];
        if constexpr (!kGradient) {
          first += bias[i][0];
          second += bias[i][1];
        }
        pairs[i] = has_bias ? ptx::relu_pair<T>(first, second)
                            : __builtin_bit_cast(std::uint32_t,
                                                 Vector<T, 2>{from_float<T>(first), from_float<T>(second)});
      }
      transpose_quad(pairs, lane.in_quad);
      Chunk chunk{pairs[0], pairs[1], pairs[2], pairs[3]};
      if (outputs.gate) {
        const std::uint32_t gate =
            __shfl_sync(kFullWarp, gates[row], lane.lane / kQuadLanes * kQuadLanes + word);
        apply_gate(chunk, gate >> shift & 0xffu);
      }
      if (positions[row] != kOutside) {
        const std::int64_t first =
            static_cast<std::int64_t>(positions[row]) * geometry.out_channels + first_channel;
        outputs.output.template store_vector<kChunkElements>(
            first + word * 32 + lane.in_quad * kChunkElements,
            __builtin_bit_cast(Vector<T, kChunkElements>, chunk));
      }
      if (has_mask) {
        const std::uint32_t bits = join_bits<kQuadLanes>(above_zero(chunk) << shift);
        if (lane.in_quad == word) masks[row] = bits;
      }
    }
  }
  if (has_mask && has_word) {
#pragma unroll
    for (int row = 0; row < kRows; ++row) {
      if (positions[row] != kOutside) outputs.mask.store(word_of(positions[row]), masks[row]);
    }
  }
}

/// The same for a pool's output. A lane has of two windows the left elements or the right ones; it gets the
/// others of one of them from the lane beside it, quad / 2 of the first four or of the second four.
template <class T, class Tile>
__device__ inline void store_pooled_tile(const Outputs<T>& outputs, const Sums<Tile>& sums,
                                         const Geometry& geometry, const Lane& lane, int first_window,
                                         int first_channel) {
  const int right = lane.quad % 2;
  const int window = first_window + lane.first_window + right * (kWarpWindows / 2) + lane.quad / 2;
  const bool inside = window < geometry.windows_count;
  const std::int64_t first = static_cast<std::int64_t>(window) * geometry.out_channels + first_channel;
#pragma unroll
  for (int word = 0; word < Tile::kWords; ++word) {
    LaneBias bias;
    load_bias(bias, outputs, lane, first_channel + word * 32);
    std::uint32_t pooled[kQuadLanes];
    std::uint32_t winners[2] = {};
    std::uint32_t open = 0;
#pragma unroll
    for (int i = 0; i < kQuadLanes; ++i) {
      const auto pair = [&](int product, int half) {
        const int sum = (word * kQuadLanes + i) * 4 + half * 2;
        return ptx::relu_pair<T>(sums[product][sum] + bias[i][0], sums[product][sum + 1] + bias[i][1]);
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
      pooled[i] = result.values;
      winners[i / 2] |= result.winners << (i % 2 * 2 * kQuadColumns + 4 * lane.in_quad);
    }
    transpose_quad(pooled, lane.in_quad);
    const Chunk chunk{pooled[0], pooled[1], pooled[2], pooled[3]};
    open = join_bits<kQuadLanes>(above_zero(chunk) << lane.in_quad * kChunkElements);
#pragma unroll
    for (std::uint32_t& bits : winners) bits = join_bits<kQuadLanes>(bits);
    if (!inside) continue;
    const std::int64_t channel = first + word * 32;
    outputs.output.template store_vector<kChunkElements>(
        channel + lane.in_quad * kChunkElements, __builtin_bit_cast(Vector<T, kChunkElements>, chunk));
    if (lane.in_quad == word) {
      outputs.winners.template store_vector<2>(channel / kChannelsPerWinners, {winners[0], winners[1]});
      outputs.open.store(channel / kChannelsPerOpen, open);
    }
  }
}

}  // namespace filterscope::kernels::wgmma
