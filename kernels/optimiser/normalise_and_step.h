#pragma once

#include "../common/types.h"
#include "ascent_state.h"

namespace filterscope::kernels {

/// Everything is fp32 and belongs to one image alone. Arrays are 16-byte aligned.
struct NormaliseAndStepArguments {
  float* images;           ///< In and out. [images][values_per_image]
  const float* gradients;  ///< [images][values_per_image]
  const float* squares;    ///< [images][parts] Sums of squares of gradients, to be added up.
  int parts;
  float step;
  float epsilon;
  AscentState state;
  int images_count;
  int values_per_image;
};

/// image += step * gradient / sqrt(max(sum of squares, epsilon)) for every image that climbs; one whose
/// gradient is zero or not finite stops climbing and stays as it is. The norm is sqrt(sum of squares).
void normalise_and_step(const NormaliseAndStepArguments& arguments, cudaStream_t stream);

}  // namespace filterscope::kernels
