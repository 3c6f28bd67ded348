#pragma once

#include <cstddef>

namespace filterscope::cpu {

/// One image's feature map in memory: row-major [channels / block][height][width][block] floats. `block`
/// divides `channels`: 16 and 8 are oneDNN's nChw16c and nChw8c; block == channels is NHWC.
struct MapShape {
  int channels;
  int height;
  int width;
  int block;

  int outer() const { return channels / block; }
  std::size_t positions() const { return static_cast<std::size_t>(height) * width; }
  std::size_t size() const { return positions() * channels; }
  /// After a 2x2 pool of stride 2.
  MapShape pooled() const { return {channels, height / 2, width / 2, block}; }
};

}  // namespace filterscope::cpu
