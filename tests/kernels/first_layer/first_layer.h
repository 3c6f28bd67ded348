#pragma once

#include <algorithm>
#include <cmath>
#include <span>
#include <vector>

#include "../tolerance.h"
#include "host/ascent/recipe.h"
#include "kernels/first_layer/input_map.h"
#include "tests/support/reference.h"

/// Helpers of the tests of the first layer's kernels.
namespace filterscope::test {

inline kernels::InputMap to_input_map(const InputMapping& mapping) {
  kernels::InputMap map;
  std::ranges::copy(mapping.source, map.source);
  std::ranges::copy(mapping.scale, map.scale);
  std::ranges::copy(mapping.offset, map.offset);
  return map;
}

/// All input mappings, and one that uses one channel twice and another not at all.
inline std::vector<InputMapping> mappings() {
  return {identity_mapping(),
          keras_mapping(),
          torchvision_mapping(),
          {.name = "twice", .source = {1, 1, 2}, .scale = {2.f, -0.5f, 3.f}, .offset = {0.25f, 0.f, -1.f}}};
}

inline std::vector<float> magnitudes(std::span<const float> values) {
  std::vector<float> result(values.begin(), values.end());
  for (float& value : result) value = std::abs(value);
  return result;
}
inline reference::Map magnitudes(reference::Map map) {
  for (double& value : map.values) value = std::abs(value);
  return map;
}
inline InputMapping magnitudes(InputMapping mapping) {
  for (float& value : mapping.scale) value = std::abs(value);
  for (float& value : mapping.offset) value = std::abs(value);
  return mapping;
}

/// Transposes [filter][row][column][channel] to the reference's [row][column][channel][filter].
inline std::vector<float> filters_last(std::span<const float> weights, int filters) {
  const std::size_t count = static_cast<std::size_t>(filters);
  const std::size_t taps = weights.size() / count;
  std::vector<float> result(weights.size());
  for (std::size_t filter = 0; filter < count; ++filter) {
    for (std::size_t tap = 0; tap < taps; ++tap) result[tap * count + filter] = weights[filter * taps + tap];
  }
  return result;
}

/// Expects the sums of squares of the kernel's own gradients by tile of 16 x 16 positions: at most 768
/// additions in fp32.
inline void expect_squares(std::span<const float> squares, std::span<const float> gradients, int images,
                           Extent extent) {
  constexpr int kTile = 16;
  const int across = (extent.width + kTile - 1) / kTile;
  const int down = (extent.height + kTile - 1) / kTile;
  std::vector<double> expected(static_cast<std::size_t>(images) * across * down, 0.0);
  std::size_t at = 0;
  for (int image = 0; image < images; ++image) {
    for (int y = 0; y < extent.height; ++y) {
      for (int x = 0; x < extent.width; ++x) {
        for (int channel = 0; channel < 3; ++channel, ++at) {
          expected[(image * down + y / kTile) * across + x / kTile] += double{gradients[at]} * gradients[at];
        }
      }
    }
  }
  expect_sums<float>(squares, expected, expected, 3 * kTile * kTile);
}

}  // namespace filterscope::test
