#pragma once

#include <limits>
#include <vector>

#include "host/cpu/map.h"
#include "tests/support/reference.h"

namespace filterscope::cpu {

/// Converts maps from the reference's layout to that of host/cpu/map.h and back. Lanes beyond the last
/// channel are zero, and are ignored on the way back.
inline std::vector<float> to_blocked(const reference::Map& map) {
  const MapShape shape{map.channels, map.height, map.width};
  std::vector<float> blocked(shape.size(), 0.f);
  for (int channel = 0; channel < map.channels; ++channel) {
    for (int y = 0; y < map.height; ++y) {
      for (int x = 0; x < map.width; ++x) {
        blocked[((static_cast<std::size_t>(channel / kLanes) * map.height + y) * map.width + x) * kLanes +
                channel % kLanes] = static_cast<float>(map.at(y, x, channel));
      }
    }
  }
  return blocked;
}

inline reference::Map from_blocked(const MapShape& shape, const float* blocked) {
  reference::Map map({shape.height, shape.width}, shape.channels);
  for (int channel = 0; channel < map.channels; ++channel) {
    for (int y = 0; y < map.height; ++y) {
      for (int x = 0; x < map.width; ++x) {
        map.at(y, x, channel) =
            blocked[((static_cast<std::size_t>(channel / kLanes) * map.height + y) * map.width + x) * kLanes +
                    channel % kLanes];
      }
    }
  }
  return map;
}

}  // namespace filterscope::cpu
