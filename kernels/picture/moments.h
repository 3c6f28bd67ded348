#pragma once

#include "../common/types.h"

namespace filterscope::kernels {

/// Mean and standard deviation of an image's values.
struct Moments {
  double mean;
  double deviation;
};

/// moments[image] of `images`, [images][values_per_image], in a fixed order. Throws LaunchError.
void image_moments(const float* images, Moments* moments, int images_count, int values_per_image,
                   cudaStream_t stream);

struct SetMomentsArguments {
  float* images;           ///< In and out. [images][values_per_image]
  const Moments* moments;  ///< [images] What images are to have.
  /// [images] What they have; where the deviation is 0, the image stays as it is. Null: `given`.
  const Moments* own = nullptr;
  Moments given = {0, 1};
  int images_count;
  int values_per_image;
};

/// x = (x - own mean) / own deviation * deviation + mean. Throws LaunchError.
void set_moments(const SetMomentsArguments& arguments, cudaStream_t stream);

}  // namespace filterscope::kernels
