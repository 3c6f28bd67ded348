#pragma once

#include "../common/types.h"
#include "ascent_state.h"

namespace filterscope::kernels {

/// Each image is processed independently, in fp32. Arrays are 16-byte aligned.
struct NormaliseAndStepArguments {
  float* images;           ///< In and out. [images][values_per_image]
  const float* gradients;  ///< [images][values_per_image]
  const float* squares;    ///< [images][parts] Partial sums of the squares of gradients.
  int parts;
  float step;
  float epsilon;
  AscentState state;
  int images_count;
  int values_per_image;
};

/// image += step * gradient / sqrt(max(sum of squares, epsilon)) for every image that climbs. An image whose
/// loss or gradient is not finite, or whose gradient is zero, stops climbing and remains unchanged. The norm
/// recorded is sqrt(sum of squares). Throws LaunchError.
void normalise_and_step(const NormaliseAndStepArguments& arguments, cudaStream_t stream);

}  // namespace filterscope::kernels
