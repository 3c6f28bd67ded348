#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "../common/types.h"

namespace filterscope::kernels {

/// A 2x2 max-pool of stride 2 (max_pool.h) that a convolution can include. The convolution's height and width
/// are even then.
enum class FusedPool {
  none,
  output,  ///< Fprop: of the ReLU's output, which itself is not written.
  input,   ///< Dgrad: its input is the gradient of the pool's output, and is taken through the pool
           ///< and the ReLU below it.
};

/// What max_pool() keeps for its gradient: MaxPoolArguments has the same.
template <class Word>
struct PoolIndices {
  Word* argmax = nullptr;
  Word* active = nullptr;
};

/// What decides whether a kernel takes a convolution.
struct ConvolutionShape {
  int height;
  int width;
  int in_channels;
  int out_channels;
  FusedPool pool = FusedPool::none;
};

template <class T>
struct ConvolutionArguments {
  const T* input;           ///< [images][height][width][in_channels], 16-byte aligned.
  const T* weights;         ///< [out_channels][3][3][in_channels], 16-byte aligned.
  const float* bias;        ///< [out_channels], 16-byte aligned, followed by ReLU; null: neither.
  T* output;                ///< Out. [images][height][width][out_channels], 16-byte aligned.
  std::uint32_t* mask_out;  ///< Out. Where the output is above zero, as MaskFormat::bits; null: not written.
  const std::uint32_t* mask_in;  ///< MaskFormat::bits that the output is multiplied with; null: none.
  int images_count;
  int height;
  int width;
  int in_channels;
  int out_channels;
  /// FusedPool::output if they are not null: out. The output is [images][height / 2][width /
  /// 2][out_channels], there is a bias and no mask.
  PoolIndices<std::uint32_t> output_pool{};
  /// FusedPool::input if they are not null: in. The input is [images][height / 2][width / 2][in_channels],
  /// and there is neither bias nor mask.
  PoolIndices<const std::uint32_t> input_pool{};
};

/// One way to compute a 3x3 cross-correlation of stride 1 with zero padding 1 and fp32 sums. It serves
/// fprop (bias, ReLU, mask out) and dgrad (mask in, and weights rotated by 180 degrees with
/// channels exchanged: w'[c][r][s][k] = w[k][2 - r][2 - s][c]).
template <class T>
struct ConvolutionKernel {
  std::string_view name;
  /// On the current device.
  bool (*supports)(const ConvolutionShape& shape);
  void (*launch)(const ConvolutionArguments<T>& arguments, cudaStream_t stream);
};

/// All of them for float, Half or Bfloat16.
template <class T>
std::span<const ConvolutionKernel<T>> convolution_kernels();

/// CUDA cores, any type; channels multiples of 32.
template <class T>
void convolution_direct(const ConvolutionArguments<T>& arguments, cudaStream_t stream);

/// Tensor cores (mma.sync, sm_80 and later), Half and Bfloat16; channels multiples of 64.
template <class T>
void convolution_implicit_gemm(const ConvolutionArguments<T>& arguments, cudaStream_t stream);
/// The same sums, bit for bit, by smaller blocks, of which a small batch of small maps has more.
template <class T>
void convolution_implicit_gemm_small(const ConvolutionArguments<T>& arguments, cudaStream_t stream);
/// And by larger ones, which read the input and the weights less often; out_channels a multiple of 128.
template <class T>
void convolution_implicit_gemm_large(const ConvolutionArguments<T>& arguments, cudaStream_t stream);

/// Tensor cores of sm_90a (wgmma), Half and Bfloat16; channels multiples of 64. It and the next
/// take pools. Where convolution_wgmma_takes() says no it must not be launched: for another device, or
/// maps too wide for shared memory.
template <class T>
void convolution_wgmma(const ConvolutionArguments<T>& arguments, cudaStream_t stream);
bool convolution_wgmma_takes(const ConvolutionShape& shape);
/// The same sums, bit for bit, by larger blocks. Made for odd multiples of 64 output channels; right for
/// every multiple.
template <class T>
void convolution_wgmma_large(const ConvolutionArguments<T>& arguments, cudaStream_t stream);
bool convolution_wgmma_large_takes(const ConvolutionShape& shape);

}  // namespace filterscope::kernels
