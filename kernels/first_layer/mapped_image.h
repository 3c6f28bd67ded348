#pragma once

#include <cstdint>

#include "../common/global.h"
#include "input_map.h"

namespace filterscope::kernels {

/// The three channels of one position.
struct Pixel {
  float channels[3];
};

/// Images as the network reads them: through the input map, and zero outside.
struct MappedImages {
  Global<const float> images;  ///< [images][height][width][3]
  InputMap map;
  int height;
  int width;

  /// Loads a pixel without a branch, so that several loads can be in flight.
  __device__ Pixel load(int image, int y, int x) const {
    const bool inside = y >= 0 && y < height && x >= 0 && x < width;
    const int row = min(max(y, 0), height - 1);
    const int column = min(max(x, 0), width - 1);
    const std::int64_t at = ((static_cast<std::int64_t>(image) * height + row) * width + column) * 3;
    Pixel pixel;
#pragma unroll
    for (int c = 0; c < 3; ++c) {
      const float value = map.scale[c] * images.load(at + map.source[c]) + map.offset[c];
      pixel.channels[c] = inside ? value : 0.f;
    }
    return pixel;
  }
};

/// The gradient with respect to an image's pixel, from that with respect to the network's input.
__device__ inline Pixel image_gradient(const InputMap& map, const Pixel& input_gradient) {
  Pixel gradient{};
#pragma unroll
  for (int to = 0; to < 3; ++to) {
#pragma unroll
    for (int from = 0; from < 3; ++from) {
      if (map.source[from] == to) {
        gradient.channels[to] += map.scale[from] * input_gradient.channels[from];
      }
    }
  }
  return gradient;
}

}  // namespace filterscope::kernels
