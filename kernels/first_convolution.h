#pragma once

#include <cstdint>

#include "common/input_map.h"
#include "common/types.h"

namespace filterscope::kernels {

template <class T>
struct FirstConvolutionArguments {
  const float* images;   ///< [images][height][width][3]
  const float* weights;  ///< [out_channels][3][3][3]: filter, row, column, input channel.
  const float* bias;     ///< [out_channels], 16-byte aligned.
  InputMap map;
  T* output;            ///< Out. [images][height][width][out_channels], 16-byte aligned.
  std::uint32_t* mask;  ///< Out. Where the output is above zero, as GateKind::bits, 8-byte aligned;
                        ///< null: not written.
  int images_count;
  int height;
  int width;
  int out_channels;  ///< A multiple of 64.
};

/// 3x3 cross-correlation with zero padding 1 of an fp32 image of three channels, bias and ReLU, in fp32,
/// rounded once to T (float, Half, Bfloat16).
template <class T>
void first_convolution(const FirstConvolutionArguments<T>& arguments, cudaStream_t stream);

}  // namespace filterscope::kernels
