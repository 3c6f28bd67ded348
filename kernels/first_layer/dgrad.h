#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "../common/types.h"
#include "input_map.h"

namespace filterscope::kernels {

/// Gradients of images come with the sums of their squares, one for each tile of 16 x 16 positions (row-major
/// over the image), so that their norm needs no further pass.
constexpr int kGradientTile = 16;
constexpr int image_gradient_parts(int height, int width) {
  return ceil_div(height, kGradientTile) * ceil_div(width, kGradientTile);
}

template <class T>
struct FirstLayerDgradArguments {
  const T*
      gradient;  ///< [images][height][width][channels], 16-byte aligned: of the first convolution's output.
  const std::uint32_t* mask;  ///< MaskFormat::bits of its ReLU, 8-byte aligned; null: that the gradient has
                              ///< already passed.
  const float* weights;       ///< [channels][3][3][3]: as first_layer_fprop's.
  InputMap map;
  const float* factors;    ///< [images] What each image's gradient is multiplied with in the end.
  float* image_gradients;  ///< Out. [images][height][width][3]
  float* squares;  ///< Out. [images][image_gradient_parts]: sums of squares of image_gradients by tile.
  int images_count;
  int height;
  int width;
  int channels;  ///< A multiple of 64.
};

/// One way to compute the dgrad of the first convolution, through the input map to the image: 3x3
/// correlation with the rotated filters from `channels` to 3.
template <class T>
struct FirstLayerDgradKernel {
  std::string_view name;
  bool (*supports)(int channels);
  void (*launch)(const FirstLayerDgradArguments<T>& arguments, cudaStream_t stream);
};

/// All of them for float, Half or Bfloat16; of those that support the channels, the one to take comes first.
template <class T>
std::span<const FirstLayerDgradKernel<T>> first_layer_dgrad_kernels();

/// CUDA cores, any type: fp32.
template <class T>
void first_layer_dgrad_direct(const FirstLayerDgradArguments<T>& arguments, cudaStream_t stream);

/// Tensor cores (mma.sync, sm_80 and later), Half and Bfloat16; 64 channels. fp32 sums, of weights in two
/// fp16 parts (common/half_parts.h; 2^-22 of a weight, or 2^-39 of the largest, are lost) or three of
/// bfloat16 (nothing is).
template <class T>
void first_layer_dgrad_mma(const FirstLayerDgradArguments<T>& arguments, cudaStream_t stream);

}  // namespace filterscope::kernels
