#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "../model/network.h"

namespace filterscope {

/// Where the gradient of one filter passes on its way to the image: all of the forward pass that it depends
/// on.
struct GradientMasks {
  /// For each layer below the filter's, over its map before any pool, [height][width][channels]: 1 where the
  /// gradient passes, i.e. the value is above zero and, if a pool follows, is its window's first maximum;
  /// otherwise 0.
  std::vector<std::vector<std::uint8_t>> layers;
  /// Over the filter's own map, [height][width]: 1 where its response is above zero; everywhere if the recipe
  /// rescues and no response is.
  std::vector<std::uint8_t> filter;
};

/// What one iteration computes before its step.
struct FilterGradient {
  FilterId id{};
  double loss = 0;
  std::vector<float> gradient;         ///< d loss / d image, [height][width][3].
  std::optional<GradientMasks> masks;  ///< The CPU engine gives none.
};

}  // namespace filterscope
