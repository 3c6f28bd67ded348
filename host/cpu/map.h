#pragma once

#include <cstddef>

namespace filterscope::cpu {

/// The channels of a map are stored in blocks of this many, the number of floats in the widest vectors.
inline constexpr int kLanes = 16;

/// One image's feature map in memory: row-major [blocks][height][width][kLanes] floats. Lanes beyond the last
/// channel are zero, in maps and in their gradients.
struct MapShape {
  int channels;
  int height;
  int width;

  int blocks() const { return (channels + kLanes - 1) / kLanes; }
  std::size_t positions() const { return static_cast<std::size_t>(height) * width; }
  std::size_t plane() const { return positions() * kLanes; }  ///< Floats in one block.
  std::size_t size() const { return plane() * blocks(); }
  /// After a 2x2 pool of stride 2.
  MapShape pooled() const { return {channels, height / 2, width / 2}; }
};

}  // namespace filterscope::cpu
