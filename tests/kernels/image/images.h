#pragma once

#include <span>
#include <vector>

#include "tests/ascent/operations/operations.h"
#include "tests/support/device.h"

/// Batches of images for tests of kernels.
namespace filterscope::test {

/// Image `i` of a batch of images that have `size` values each.
template <class T>
std::span<const T> image_of(const std::vector<T>& batch, int i, std::size_t size) {
  return std::span<const T>(batch).subspan(size * i, size);
}
inline reference::Map map_of(const std::vector<float>& batch, int i, Extent extent) {
  return {extent, 3, image_of(batch, i, image_size(extent))};
}

}  // namespace filterscope::test
