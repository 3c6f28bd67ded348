#pragma once

#include "types.h"

namespace filterscope::kernels {

/// Which taps of a 3x3 kernel with padding 1 stay in the image: bit 3 r + s is set where the input (y + r -
/// 1, x + s - 1) lies inside. kRows is 3 for the output (y, x) alone, 4 for it and the output below.
template <int kRows = 3>
__device__ inline unsigned taps_inside(int y, int x, int height, int width) {
  const unsigned columns = (x > 0 ? 1u : 0u) | 2u | (x + 1 < width ? 4u : 0u);
  unsigned inside = y > 0 ? columns : 0u;
#pragma unroll
  for (int row = 1; row < kRows; ++row) {
    if (y + row - 1 < height) inside |= columns << 3 * row;
  }
  return inside;
}

/// taps_inside() for an output given by its position over all images.
__device__ inline unsigned taps_inside_at(int position, int height, int width) {
  const auto at = static_cast<unsigned>(position);
  const unsigned line = at / static_cast<unsigned>(width);
  return taps_inside(static_cast<int>(line % static_cast<unsigned>(height)),
                     static_cast<int>(at - line * static_cast<unsigned>(width)), height, width);
}

}  // namespace filterscope::kernels
