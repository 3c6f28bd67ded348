#pragma once

#include <cstdint>

namespace filterscope {

/// Height and width of an image or a feature map, in positions.
struct Extent {
  int height;
  int width;

  std::int64_t positions() const { return std::int64_t{height} * width; }
  bool operator==(const Extent&) const = default;
};

}  // namespace filterscope
