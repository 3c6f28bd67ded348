#pragma once

#include <cstdint>

#include "../common/types.h"

namespace filterscope::kernels {

/// Arrays are 16-byte aligned.
struct EncodeArguments {
  const float* images;     ///< [images][values_per_image]
  std::uint8_t* pictures;  ///< Out. [images][values_per_image]
  int images_count;
  int values_per_image;
};

/// round(255 * (x - min) / (max - min)), halves up, with the minimum and maximum of each image; a constant
/// image becomes black. The bytes are the CPU engine's. Throws LaunchError.
void encode(const EncodeArguments& arguments, cudaStream_t stream);

}  // namespace filterscope::kernels
