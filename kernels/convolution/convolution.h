#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "../common/types.h"

namespace filterscope::kernels {

/// A 2x2 max-pool of stride 2 (max_pool.h) that a convolution can include. The convolution's height and width
/// must then be even.
enum class FusedPool {
  none,
  output,  ///< Fprop: the ReLU's output is pooled and not itself written.
  input,  ///< Dgrad: the input is the gradient of the pool's output; the kernel takes it through the pool and
          ///< the ReLU below it.
};

/// The indices that max_pool() keeps for its gradient, in the layout of MaxPoolArguments.
template <class Word>
struct PoolIndices {
  Word* argmax = nullptr;
  Word* active = nullptr;
};

/// The properties that decide whether a kernel supports a convolution.
struct ConvolutionShape {
  int height;
  int width;
  int in_channels;
  int out_channels;
  FusedPool pool = FusedPool::none;
};

template <class T>
struct ConvolutionArguments {
  const T* input;                ///< [images][height][width][in_channels], 16-byte aligned.
  const T* weights;              ///< [out_channels][3][3][in_channels], 16-byte aligned.
  const float* bias;             ///< [out_channels], 16-byte aligned, followed by ReLU; null: neither.
  T* output;                     ///< Out. [images][height][width][out_channels], 16-byte aligned.
  std::uint32_t* mask_out;       ///< Out. Mask of the output as MaskFormat::bits; null: not written.
  const std::uint32_t* mask_in;  ///< Mask, as MaskFormat::bits, that the output is multiplied by; null: none.
  int images_count;
  int height;
  int width;
  int in_channels;
  int out_channels;
  /// Out; not null: FusedPool::output. The output is then [images][height / 2][width / 2][out_channels], with
  /// a bias and without masks.
  PoolIndices<std::uint32_t> output_pool{};
  /// In; not null: FusedPool::input. The input is then [images][height / 2][width / 2][in_channels], without
  /// bias or mask_out.
  PoolIndices<const std::uint32_t> input_pool{};
};

/// One way to compute a 3x3 cross-correlation of stride 1 with zero padding 1 and fp32 sums. It serves fprop
/// (bias, ReLU, mask_out) and dgrad (mask_in, and weights rotated by 180 degrees with channels exchanged:
/// w'[c][r][s][k] = w[k][2 - r][2 - s][c]).
template <class T>
struct ConvolutionKernel {
  std::string_view name;
  /// Whether the kernel computes this shape on the current device.
  bool (*supports)(const ConvolutionShape& shape);
  void (*launch)(const ConvolutionArguments<T>& arguments, cudaStream_t stream);
};

/// All kernels of a type: float, Half or Bfloat16.
template <class T>
std::span<const ConvolutionKernel<T>> convolution_kernels();

/// CUDA cores, any type; in_channels and out_channels multiples of 32. Like all kernels below, throws
/// LaunchError.
template <class T>
void convolution_direct(const ConvolutionArguments<T>& arguments, cudaStream_t stream);

/// Tensor cores (mma.sync, sm_80 and later), Half and Bfloat16; in_channels and out_channels multiples of 64.
template <class T>
void convolution_implicit_gemm(const ConvolutionArguments<T>& arguments, cudaStream_t stream);
/// The same results, bit for bit, with smaller tiles, so that a small batch of small maps occupies more
/// multiprocessors.
template <class T>
void convolution_implicit_gemm_small(const ConvolutionArguments<T>& arguments, cudaStream_t stream);
/// The same results with larger tiles, which read input and weights less often; out_channels a multiple of
/// 128.
template <class T>
void convolution_implicit_gemm_large(const ConvolutionArguments<T>& arguments, cudaStream_t stream);

/// Tensor cores of sm_90a (wgmma), Half and Bfloat16; in_channels and out_channels multiples of 64. This
/// kernel and the next support fused pools. Neither may be launched where its _takes() is false: on another
/// device, or for maps too wide for shared memory.
template <class T>
void convolution_wgmma(const ConvolutionArguments<T>& arguments, cudaStream_t stream);
bool convolution_wgmma_takes(const ConvolutionShape& shape);
/// The same results, bit for bit, with larger tiles. Fast for odd multiples of 64 output channels, correct
/// for every multiple.
template <class T>
void convolution_wgmma_large(const ConvolutionArguments<T>& arguments, cudaStream_t stream);
bool convolution_wgmma_large_takes(const ConvolutionShape& shape);

}  // namespace filterscope::kernels
