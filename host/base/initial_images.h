#pragma once

#include <vector>

#include "extent.h"

namespace filterscope {

/// Start images given by the user instead of noise: images as the recipe holds them in its first stage.
struct InitialImages {
  std::vector<float> values;  ///< Row-major [count, height, width, 3].
  int count = 0;    ///< 1: every filter starts from it; else one per filter rendered, in ascending order.
  Extent extent{};  ///< That of the recipe's first stage.
};

}  // namespace filterscope
