#pragma once

#include "../common/types.h"
#include "../optimiser/ascent_state.h"

namespace filterscope::kernels {

struct BlurArguments {
  float* images;         ///< In and out. [images][height][width][3]
  float* scratch;        ///< As large.
  const float* weights;  ///< [2 * radius + 1] Of the pixels at -radius .. radius.
  int radius;
  int every;    ///< Images are blurred after every so many iterations of the stage.
  int earlier;  ///< Iterations of earlier stages.
  AscentState state;
  int images_count;
  int height;
  int width;
};

/// If a blur is due after the iteration that the state has counted: convolves images that climb with the
/// weights in x and in y, edge pixels repeated. Throws LaunchError.
void blur(const BlurArguments& arguments, cudaStream_t stream);

}  // namespace filterscope::kernels
