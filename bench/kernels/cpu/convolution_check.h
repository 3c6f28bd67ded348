#pragma once

#include <cstdint>
#include <string>

#include "../check.h"
#include "../layers.h"
#include "device.h"
#include "host/model/weights/weights.h"

/// Checks convolutions of blocked maps, laid out as in host/cpu/convolution.h and oneDNN's nChw16c.
namespace filterscope::bench {

/// The relative error of products by Winograd's F(tile x tile, 3 x 3) in fp32, measured, with a margin of at
/// least three; 0 for other algorithms.
constexpr double winograd_error(int tile) {
  return tile == 0 ? 0 : tile == 2 ? 0x1p-22 : tile == 4 ? 0x1p-18 : 0x1p-16;
}

inline LayerWeights random_weights(const Layer& layer, std::uint64_t seed) {
  LayerWeights weights{.kernel = std::vector<float>(std::size_t{9} * layer.in_channels * layer.out_channels),
                       .bias = std::vector<float>(layer.out_channels)};
  fill_random(weights.kernel, seed);
  fill_random(weights.bias, seed + 1);
  return weights;
}

inline bool bit(const std::uint8_t* masks, std::size_t i) {
  return (masks[i / 8] >> i % 8 & 1) != 0;
}

/// The inputs and outputs of a forward convolution. Pooled convolutions have argmax; others have masks, which
/// may be null.
struct ForwardCheck {
  const Layer& layer;
  const LayerWeights& weights;
  int images;
  const float* maps;
  const float* results;        ///< A map of the layer, or its pooled map if there is argmax.
  const std::uint8_t* masks;   ///< Null: none.
  const std::uint8_t* argmax;  ///< Null: not pooled.
  int tile;                    ///< 0: not by Winograd's algorithm.
};
std::string check_forward(const ForwardCheck& given);

/// The inputs and outputs of a dgrad.
struct DgradCheck {
  const Layer& layer;
  const LayerWeights& weights;
  int images;
  const float* gradients;      ///< For a map of the layer, or its pooled map if there is argmax.
  const std::uint8_t* argmax;  ///< Null: not pooled.
  const std::uint8_t* masks;   ///< The input's. Null: none.
  const float* results;
  int tile;
};
std::string check_dgrad(const DgradCheck& given);

}  // namespace filterscope::bench
