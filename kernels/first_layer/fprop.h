#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "../common/types.h"
#include "input_map.h"

namespace filterscope::kernels {

template <class T>
struct FirstLayerFpropArguments {
  const float* images;   ///< [images][height][width][3]
  const float* weights;  ///< [out_channels][3][3][3]: filter, row, column, input channel.
  const float* bias;     ///< [out_channels], 16-byte aligned.
  InputMap map;
  T* output;            ///< Out. [images][height][width][out_channels], 16-byte aligned.
  std::uint32_t* mask;  ///< Out. Mask of the output as MaskFormat::bits, 8-byte aligned; null: not written.
  int images_count;
  int height;
  int width;
  int out_channels;  ///< A multiple of 64.
};

/// One way to compute the first layer: 3x3 cross-correlation with zero padding 1 of an fp32 image of three
/// channels, bias and ReLU, rounded once to T (float, Half, Bfloat16). Launches throw LaunchError.
template <class T>
struct FirstLayerFpropKernel {
  std::string_view name;
  void (*launch)(const FirstLayerFpropArguments<T>& arguments, cudaStream_t stream);
};

/// All kernels of a type: float, Half or Bfloat16. The first is the fastest.
template <class T>
std::span<const FirstLayerFpropKernel<T>> first_layer_fprop_kernels();

/// CUDA cores, any type, in fp32.
template <class T>
void first_layer_fprop_direct(const FirstLayerFpropArguments<T>& arguments, cudaStream_t stream);

/// Tensor cores (mma.sync, sm_80 and later), Half and Bfloat16, with the accuracy of fp32: pixels and weights
/// in two fp16 parts each (common/half_parts.h), fp32 accumulators. The split adds an error of at most 3 *
/// 2^-22 of the sum of the products' magnitudes plus 2^-33 of the largest pixel nearby times the largest
/// weight.
template <class T>
void first_layer_fprop_mma(const FirstLayerFpropArguments<T>& arguments, cudaStream_t stream);

}  // namespace filterscope::kernels
