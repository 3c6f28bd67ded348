#pragma once

#include <cstdint>

#include "../common/platform.h"

namespace filterscope::kernels {

struct NoiseArguments {
  float* images;       ///< Out. [images][height][width][3], row-major.
  const int* layers;   ///< [images] Each image's target layer.
  const int* filters;  ///< [images] Each image's filter in that layer.
  int images_count;
  int values_per_image;  ///< height * width * 3
  std::uint64_t seed;
  float low;  ///< Values are uniform in [low, high).
  float high;
};

/// Start images: value i of an image is word i % 4 of Philox 4x32-10 (J. Salmon et al., SC 2011) for key =
/// seed and counter = (i / 4, filter, layer, stream initial_image), as a multiple of 2^-24 in [0, 1)
/// stretched to [low, high). The values are the CPU engine's, bit for bit. Throws LaunchError.
void noise(const NoiseArguments& arguments, cudaStream_t stream);

}  // namespace filterscope::kernels
