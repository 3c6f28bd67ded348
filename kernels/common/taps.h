#pragma once

#include "types.h"

namespace filterscope::kernels {

/// Which taps of a 3x3 kernel with padding 1 stay in the image: bit 3 r + s for row r and column s. Positions
/// are counted over all images, one after the other.
__device__ inline unsigned taps_inside(int position, int height, int width) {
  const auto at = static_cast<unsigned>(position);
  const auto columns_count = static_cast<unsigned>(width);
  const auto rows_count = static_cast<unsigned>(height);
  const unsigned x = at % columns_count;
  const unsigned y = at / columns_count % rows_count;
  const unsigned columns = (x > 0 ? 1u : 0u) | 2u | (x + 1 < columns_count ? 4u : 0u);
  return (y > 0 ? columns : 0u) | columns << 3 | (y + 1 < rows_count ? columns << 6 : 0u);
}

}  // namespace filterscope::kernels
