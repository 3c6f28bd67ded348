#pragma once

#include <cstdint>

#include "../common/types.h"
#include "../first_layer/input_map.h"
#include "filter_head.h"

/// The filter head for filters of the first layer, which read the images themselves.
namespace filterscope::kernels {

struct ImageHeadArguments {
  const float* images;   ///< [images][height][width][3]
  const float* weights;  ///< [filters in the layer][3][3][3]
  const float* bias;
  const int* filters;  ///< [images]
  InputMap map;
  float* sums;            ///< Out. [images][kFilterHeadParts]
  std::uint32_t* active;  ///< Out. As filter_head's.
  int images_count;
  int height;
  int width;
  HeadWindow window{};
};

/// filter_head for the first layer, through the input map, in fp32. Throws LaunchError.
void image_head(const ImageHeadArguments& arguments, cudaStream_t stream);

struct ImageHeadGradientArguments {
  const std::uint32_t* active;
  const float* sums;  ///< As filter_head_gradient's; may be null.
  const float* weights;
  const int* filters;
  InputMap map;
  float scale;             ///< As filter_head_gradient's.
  float* image_gradients;  ///< Out. [images][height][width][3]
  float* squares;  ///< Out. [images][image_gradient_parts(height, width)]: as in FirstLayerDgradArguments.
  int images_count;
  int height;
  int width;
  HeadWindow window{};
};

/// filter_head_gradient for the first layer, through the input map to the image, in fp32. Throws LaunchError.
void image_head_gradient(const ImageHeadGradientArguments& arguments, cudaStream_t stream);

}  // namespace filterscope::kernels
