#pragma once

#include <vector>

#include "extent.h"

namespace filterscope {

/// Start images given by the user instead of noise.
struct InitialImages {
  std::vector<float> values;  ///< Row-major [count, height, width, 3].
  int count = 0;    ///< 1 (every filter starts from it) or one for each filter rendered, in ascending order.
  Extent extent{};  ///< RenderOptions::extent.
};

}  // namespace filterscope
