#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "../common/types.h"
#include "input_map.h"

namespace filterscope::kernels {

/// Image gradients come with the sums of their squares, one for each tile of 16 x 16 positions (row-major
/// over the image), so that their norm needs no further pass.
constexpr int kGradientTile = 16;
constexpr int image_gradient_parts(int height, int width) {
  return ceil_div(height, kGradientTile) * ceil_div(width, kGradientTile);
}

template <class T>
struct FirstLayerDgradArguments {
  const T* gradient;  ///< [images][height][width][channels], 16-byte aligned: the gradient of the first
                      ///< layer's output.
  const std::uint32_t*
      mask;  ///< Mask of its ReLU as MaskFormat::bits, 8-byte aligned; null: already applied to the gradient.
  const float* weights;  ///< [channels][3][3][3]: filter, row, column, input channel.
  InputMap map;
  const float* factors;    ///< [images] Factor of each image's gradient.
  float* image_gradients;  ///< Out. [images][height][width][3]
  float* squares;  ///< Out. [images][image_gradient_parts(height, width)]: sums of squares of image_gradients
                   ///< by tile.
  int images_count;
  int height;
  int width;
  int channels;  ///< A multiple of 64.
};

/// One way to compute the dgrad of the first layer, through the input map to the image: 3x3 cross-correlation
/// with the rotated filters, from `channels` to 3. Launches throw LaunchError.
template <class T>
struct FirstLayerDgradKernel {
  std::string_view name;
  bool (*supports)(int channels);
  void (*launch)(const FirstLayerDgradArguments<T>& arguments, cudaStream_t stream);
};

/// All kernels of a type: float, Half or Bfloat16. The first that supports the channels is the fastest.
template <class T>
std::span<const FirstLayerDgradKernel<T>> first_layer_dgrad_kernels();

/// CUDA cores, any type, in fp32.
template <class T>
void first_layer_dgrad_direct(const FirstLayerDgradArguments<T>& arguments, cudaStream_t stream);

/// Tensor cores (mma.sync, sm_80 and later), Half and Bfloat16; 64 channels. fp32 accumulators; weights in
/// two fp16 parts (common/half_parts.h; within 2^-22 of a weight, or 2^-39 of the largest) or three bfloat16
/// parts (exact).
template <class T>
void first_layer_dgrad_mma(const FirstLayerDgradArguments<T>& arguments, cudaStream_t stream);

}  // namespace filterscope::kernels
