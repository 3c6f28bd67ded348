#pragma once

#include <bit>
#include <cstdint>
#include <type_traits>

#include "../../common/channel_lanes.h"
#include "../../common/global.h"
#include "../../common/half_parts.h"
#include "../../common/reduce.h"
#include "../../ptx/convert.h"
#include "tile.h"

/// Loads the weights, split into parts of 16 bits, through shared memory to each lane's registers.
namespace filterscope::kernels::dgrad_mma {

/// Byte offset of a lane's weights for two steps of a product: two registers each, as ptx::mma_m16n8k16 takes
/// them. Lanes are swizzled so that threads that store the same channels for several columns use different
/// banks.
__device__ inline int weights_place(int product, int step_pair, int lane) {
  return kContributions +
         ((product * (kSteps / 2) + step_pair) * kWarpSize + (lane ^ lane / 8)) * kChunkBytes;
}

/// Stores the parts of the weights in the order in which lanes load them. Lane l has columns 2 (l % 4) and 2
/// (l % 4) + 1 of the products, which hold taps 7 (l % 4) and following: first the high parts, then the
/// others. Returns the factor that undoes their scale.
template <class T>
__device__ inline float stage_weights(Global<const float> weights, auto&& memory) {
  // Each lane loads one tap, each warp every fourth pair of channels.
  constexpr int kLoads = kChannels / 2 / kWarps;
  static_assert(kTaps <= kWarpSize && kWarps == kPairLanes && kMmaChannels == 4 * kWarps);
  const int lane = static_cast<int>(threadIdx.x % kWarpSize);
  const int warp = static_cast<int>(threadIdx.x / kWarpSize);
  const bool has_tap = lane < kTaps;
  float loaded[kLoads][2];
#pragma unroll
  for (int i = 0; i < kLoads; ++i) {
#pragma unroll
    for (int channel = 0; channel < 2; ++channel) {
      const float weight = weights.load((2 * (warp + i * kWarps) + channel) * kTaps + min(lane, kTaps - 1));
      loaded[i][channel] = has_tap ? weight : 0.f;
    }
  }
  float scale = 1.f;
  float unscale = 1.f;
  if constexpr (std::is_same_v<T, Half>) {
    float largest = 0.f;
#pragma unroll
    for (int i = 0; i < kLoads; ++i) largest = max(max(largest, fabsf(loaded[i][0])), fabsf(loaded[i][1]));
    const int exponent = half_exponent(block_reduce<Maximum, kThreads>(largest));
    scale = power_of_two(exponent);
    unscale = power_of_two(-exponent);
  }
  if (lane >= kPairLanes * kLaneTaps) return unscale;
  int places[kWeightParts<T>];
#pragma unroll
  for (int part = 0; part < kWeightParts<T>; ++part) {
    const int sum = part * kLaneTaps + lane % kLaneTaps;
    const int column = lane / kLaneTaps * 2 + sum % 2;
    places[part] = weights_place(sum / 2, 0, column * kPairLanes + warp);
  }
#pragma unroll
  for (int i = 0; i < kLoads; ++i) {
    // Pair warp + 4 i belongs to step i / 2, register i % 2 of the lane that has the pair.
    const int place = i / 4 * kWarpSize * kChunkBytes + i % 4 * static_cast<int>(sizeof(std::uint32_t));
    float rest[2] = {loaded[i][0] * scale, loaded[i][1] * scale};
#pragma unroll
    for (int part = 0; part < kWeightParts<T>; ++part) {
      const std::uint32_t word = ptx::round_pair<T>(rest[0], rest[1]);
      const auto rounded = std::bit_cast<Vector<T, 2>>(word);
#pragma unroll
      for (int channel = 0; channel < 2; ++channel) rest[channel] -= to_float(rounded[channel]);
      *reinterpret_cast<std::uint32_t*>(&memory[places[part] + place]) = word;
    }
  }
  return unscale;
}

template <class T>
using Weights = std::uint32_t[kProducts<T>][kSteps][2];

template <class T, class Memory>
__device__ inline void load_weights(Weights<T>& weights, const Memory& memory, int lane) {
#pragma unroll
  for (int product = 0; product < kProducts<T>; ++product) {
#pragma unroll
    for (int pair = 0; pair < kSteps / 2; ++pair) {
      const Words words = *reinterpret_cast<const Words*>(&memory[weights_place(product, pair, lane)]);
#pragma unroll
      for (int i = 0; i < 4; ++i) weights[product][2 * pair + i / 2][i % 2] = words[i];
    }
  }
}

}  // namespace filterscope::kernels::dgrad_mma
