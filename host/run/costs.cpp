#include "costs.h"

namespace filterscope {

double ascent_flops(const Network& network, const Recipe& recipe, int layer) {
  double flops = 0;
  for (const Stage& stage : recipe.stages)
    flops += network.iteration_flops(layer, canvas_extent(stage)) * stage.iterations;
  return flops;
}

}  // namespace filterscope
