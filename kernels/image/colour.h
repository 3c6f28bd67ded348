#pragma once

#include "../common/types.h"

/// Colour and range of an image's parameterisation: what lies between its values and the image.
namespace filterscope::kernels {

/// image = f(matrix * values + offset) for the three channels of each position, f the identity or a sigmoid.
struct ColourMap {
  float matrix[3][3] = {{1, 0, 0}, {0, 1, 0}, {0, 0, 1}};
  float offset[3] = {0, 0, 0};
  bool sigmoid = false;
};

/// How values before colour and range are stored.
enum class ValueLayout {
  interleaved,  ///< [images][positions][3]
  planar,       ///< [images][3][positions]
};

/// Images and gradients with respect to them are [images][positions][3]; values and gradients with respect to
/// them have `layout`. Input and output may be the same array if that is interleaved.
struct ColourArguments {
  const float* in;
  float* out;
  const float* images = nullptr;  ///< Only for colour_adjoint().
  ColourMap map;
  ValueLayout layout = ValueLayout::interleaved;
  int images_count;
  int positions;
};

/// From values to images: f(matrix * values + offset). Throws LaunchError.
void colour_forward(const ColourArguments& arguments, cudaStream_t stream);
/// From the gradient with respect to `images` to that with respect to the values: transposed matrix * (f' *
/// gradient). Throws LaunchError.
void colour_adjoint(const ColourArguments& arguments, cudaStream_t stream);
/// From images to values: matrix * (inverse of f (images) - offset), for the map whose matrix is the inverse
/// of colour_forward()'s. The sigmoid's inverse takes what is outside of [1/1024, 1 - 1/1024] as its ends.
/// Throws LaunchError.
void colour_inverse(const ColourArguments& arguments, cudaStream_t stream);

}  // namespace filterscope::kernels
