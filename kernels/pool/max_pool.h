#pragma once

#include <cstdint>

#include "../common/types.h"

namespace filterscope::kernels {

template <class T>
struct MaxPoolArguments {
  const T* input;  ///< [images][height][width][channels]: a ReLU's output. Tensors are 16-byte aligned.
  T* output;       ///< Out. [images][height / 2][width / 2][channels]
  std::uint32_t*
      argmax;  ///< Out. [images][height / 2][width / 2][channels / 16]: two bits per channel, the first
               ///< channel lowest: 2 * row + column of the window's first maximum. Null: not written.
  std::uint32_t* active;  ///< Out. [images][height / 2][width / 2][channels / 32]: one bit per channel: the
                          ///< output is above zero. Null if argmax is null.
  int images_count;
  int height;  ///< Input height; an odd last row or column is dropped.
  int width;
  int channels;  ///< A multiple of 32.
};

/// 2x2 max-pool of stride 2. Per output, 3 bits keep what the gradient through the pool and the ReLU below it
/// needs. Throws LaunchError.
template <class T>
void max_pool(const MaxPoolArguments<T>& arguments, cudaStream_t stream);

template <class T>
struct MaxPoolGradientArguments {
  const T* output_gradient;  ///< [images][height / 2][width / 2][channels]
  const std::uint32_t* argmax;
  const std::uint32_t* active;
  T* input_gradient;  ///< Out. [images][height][width][channels], every element: the gradient of the input of
                      ///< the ReLU below.
  int images_count;
  int height;  ///< Height of the pool's input.
  int width;
  int channels;  ///< A multiple of 32.
};

/// The gradient through the pool and the ReLU below it, in one pass: it goes to the window's first maximum if
/// that is above zero; all other elements are zero. Throws LaunchError.
template <class T>
void max_pool_gradient(const MaxPoolGradientArguments<T>& arguments, cudaStream_t stream);

}  // namespace filterscope::kernels
