#pragma once

#include "../common/types.h"

/// Gradients of penalties on images, subtracted from a gradient that climbs. All arrays are
/// [images][height][width][3].
namespace filterscope::kernels {

struct PenaltyArguments {
  const float* images;
  float* gradients;  ///< In and out.
  int images_count;
  int height;
  int width;
  float variation_l1 = 0.f;  ///< Times the sum of the magnitudes of differences of neighbours in y and x.
  float variation_l2 = 0.f;  ///< Times the sum of their squares.
  float magnitude = 0.f;     ///< Times the sum of magnitudes.
};

/// gradients -= the gradient of the weighted sum of the three penalties. Where a magnitude is not
/// differentiable, its gradient is 0. Throws LaunchError.
void penalty_gradient(const PenaltyArguments& arguments, cudaStream_t stream);

struct NormPenaltyArguments {
  const float* images;
  float* gradients;  ///< In and out.
  int images_count;
  int values_per_image;  ///< height * width * 3
  float weight;
  float power;  ///< At least 1.
};

/// gradients -= the gradient of weight * (sum |x|^power)^(1 / power); 0 for an image of zeros. Throws
/// LaunchError.
void norm_penalty_gradient(const NormPenaltyArguments& arguments, cudaStream_t stream);

}  // namespace filterscope::kernels
