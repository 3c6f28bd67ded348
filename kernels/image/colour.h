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

struct ColourArguments {
  float* values;           ///< In `layout`.
  float* images;           ///< [images][positions][3]
  const float* gradients;  ///< [images][positions][3] Only for colour_adjoint().
  ColourMap map;
  ValueLayout layout = ValueLayout::interleaved;
  int images_count;
  int positions;
};

/// images = f(matrix * values + offset). Arrays may be the same if both are interleaved. Throws LaunchError.
void colour_forward(const ColourArguments& arguments, cudaStream_t stream);
/// values = transposed matrix * (f' * gradients): the gradient with respect to the values, of `images` and
/// the gradient with respect to them. Values and gradients may be the same array if both are interleaved.
/// Throws LaunchError.
void colour_adjoint(const ColourArguments& arguments, cudaStream_t stream);
/// values = matrix * (inverse of f (images) - offset), for the map whose matrix is the inverse of
/// colour_forward()'s. The sigmoid's inverse takes what is outside of [1/1024, 1 - 1/1024] as its ends.
/// Arrays may be the same if both are interleaved. Throws LaunchError.
void colour_inverse(const ColourArguments& arguments, cudaStream_t stream);

}  // namespace filterscope::kernels
