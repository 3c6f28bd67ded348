#pragma once

#include "../optimiser/ascent_state.h"
#include "affine_map.h"

namespace filterscope::kernels {

/// What lies outside an image that is sampled.
enum class WarpBorder : int {
  constant,  ///< A value.
  edge,      ///< The nearest pixel of the image.
  reflect,   ///< The image mirrored, its edge pixels repeated: d c b a | a b c d | d c b a.
  wrap,      ///< The image repeated.
};

struct WarpArguments {
  const float* images;    ///< [images][image_height][image_width][3]
  float* canvases;        ///< Out. [images][canvas_height][canvas_width][3]
  const AffineMap* maps;  ///< [images] Null: the same place.
  /// [images] Only canvases of images that climb are written; null: all.
  const AscentStatus* status = nullptr;
  WarpBorder border = WarpBorder::constant;
  float value = 0.f;  ///< Outside, of WarpBorder::constant.
  int images_count;
  int image_height;
  int image_width;
  int canvas_height;
  int canvas_width;
};

/// Samples images bilinearly at the positions of canvases. Throws LaunchError.
void warp(const WarpArguments& arguments, cudaStream_t stream);

struct WarpAdjointArguments {
  const float* canvas_gradients;  ///< [images][canvas_height][canvas_width][3]
  float* image_gradients;         ///< Out. [images][image_height][image_width][3]
  const AffineMap* maps;          ///< [images] As warp() had them.
  int images_count;
  int image_height;
  int image_width;
  int canvas_height;
  int canvas_width;
};

/// The adjoint of warp() with WarpBorder::constant: the gradient with respect to the images. Each pixel
/// gathers what canvas positions took from it, in the order of the canvas. Throws LaunchError.
void warp_adjoint(const WarpAdjointArguments& arguments, cudaStream_t stream);

}  // namespace filterscope::kernels
