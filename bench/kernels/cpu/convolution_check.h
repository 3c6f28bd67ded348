#pragma once

#include <cstdint>
#include <string>

#include "../check.h"
#include "../layers.h"
#include "device.h"
#include "host/model/weights/weights.h"

/// Convolutions of blocked maps, as host/cpu/convolution.h and oneDNN's nChw16c have them.
namespace filterscope::bench {

/// Relative errors of products by Winograd's F(tile x tile, 3 x 3) in fp32, found by measurement, with a
/// margin of three or more; 0 for none.
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

/// What a forward convolution was given and gave. Exactly one of masks (may be null) and argmax belongs to
/// it.
struct ForwardCheck {
  const Layer& layer;
  const LayerWeights& weights;
  int images;
  const float* maps;
  const float* results;        ///< Of the layer's extent, or pooled where there are argmax.
  const std::uint8_t* masks;   ///< Null: none.
  const std::uint8_t* argmax;  ///< Null: not pooled.
  int tile;                    ///< 0: not by Winograd's algorithm.
};
std::string check_forward(const ForwardCheck& given);

/// And an input gradient.
struct InputGradientCheck {
  const Layer& layer;
  const LayerWeights& weights;
  int images;
  const float* gradients;      ///< Of the layer's extent, or pooled where there are argmax.
  const std::uint8_t* argmax;  ///< Null: not pooled.
  const std::uint8_t* masks;   ///< Of the input. Null: none.
  const float* results;
  int tile;
};
std::string check_input_gradient(const InputGradientCheck& given);

}  // namespace filterscope::bench
