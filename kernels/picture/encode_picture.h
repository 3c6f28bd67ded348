#pragma once

#include <cstdint>

#include "../common/types.h"

namespace filterscope::kernels {

enum class PictureKind {
  min_max,      ///< (x - min) / (max - min); a constant image becomes black.
  standardise,  ///< (x - mean) / (standard deviation + epsilon) * deviation + centre.
  clip,         ///< (x - low) / (high - low).
};

struct EncodePictureArguments {
  const float* images;     ///< [images][height][width][3]
  std::uint8_t* pictures;  ///< Out. [images][height - 2 * crop][width - 2 * crop][3]
  PictureKind kind;
  float deviation = 0.f;
  float centre = 0.f;
  float epsilon = 0.f;
  float low = 0.f;
  float high = 1.f;
  bool truncates = false;  ///< Rounds towards zero instead of to nearest, halves up.
  int images_count;
  int height;
  int width;
  int crop = 0;  ///< Pixels cut off on each side. Minimum, mean and deviation are those of the whole image.
};

/// 8-bit pictures of any kind: 255 times the value that `kind` makes of x, brought into 0..1, rounded. What
/// encode() makes is min_max, rounded to nearest, without a crop. Throws LaunchError.
void encode_picture(const EncodePictureArguments& arguments, cudaStream_t stream);

}  // namespace filterscope::kernels
