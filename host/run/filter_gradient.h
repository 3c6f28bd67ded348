#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "../model/network.h"

namespace filterscope {

/// Where the gradient of one filter's image passes on its way down: everything of the forward pass that it
/// depends on.
struct GradientMasks {
  /// Of each layer below the filter's, of its map before any pool, [height][width][channels]: 1 where the
  /// gradient passes, that is, where the value is above zero and, if a pool follows, its window's first
  /// maximum; else 0.
  std::vector<std::vector<std::uint8_t>> layers;
  /// Of the filter's own map, [height][width]: 1 where its response is above zero, or everywhere if the
  /// recipe rescues and no response is.
  std::vector<std::uint8_t> filter;
};

/// What one iteration finds before it makes its step.
struct FilterGradient {
  FilterId id{};
  double loss = 0;
  std::vector<float> gradient;         ///< Of the loss, with respect to the image: [height][width][3].
  std::optional<GradientMasks> masks;  ///< Nothing from the CPU engine.
};

}  // namespace filterscope
