#pragma once

#include "../ascent/recipe.h"
#include "../model/network.h"

namespace filterscope {

/// Floating-point operations of the network (as Network::iteration_flops) in the ascent of one filter of
/// `layer`: the sum over the recipe's stages, at the sizes that the network sees.
double ascent_flops(const Network& network, const Recipe& recipe, int layer);

}  // namespace filterscope
