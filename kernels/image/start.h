#pragma once

#include <cstdint>

#include "../common/types.h"

namespace filterscope::kernels {

struct GaussianNoiseArguments {
  float* values;       ///< Out. [images][values_per_image]
  const int* layers;   ///< [images] Each image's target layer.
  const int* filters;  ///< [images] Each image's filter in that layer.
  int images_count;
  int values_per_image;
  std::uint64_t seed;
  float mean;
  float deviation;
};

/// Normally distributed start values: 2 k and 2 k + 1 of an image are made of words u and v of the block that
/// noise() uses for them, by G. Box and M. Muller (1958): sqrt(-2 ln u) times cos and sin of 2 pi v, u in
/// (0, 1]. Throws LaunchError.
void gaussian_noise(const GaussianNoiseArguments& arguments, cudaStream_t stream);

/// values[i] = value. Throws LaunchError.
void fill(float* values, std::int64_t count, float value, cudaStream_t stream);

}  // namespace filterscope::kernels
