#pragma once

#include <span>

#include "../recipe.h"

namespace filterscope {

/// gradient -= the gradient of `regulariser` with respect to `image`, [height][width][3]. Where a magnitude
/// is not differentiable, its gradient is 0.
void add_penalty_gradient(const Regulariser& regulariser, Extent extent, std::span<const float> image,
                          std::span<float> gradient);

}  // namespace filterscope
