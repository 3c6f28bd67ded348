#include "convolution.h"

#include <array>

namespace filterscope::kernels {
namespace {

bool multiples(const ConvolutionShape& shape, int in_channels, int out_channels) {
  return shape.in_channels % in_channels == 0 && shape.out_channels % out_channels == 0 &&
         shape.pool == FusedPool::none;
}
bool multiples_of_32(const ConvolutionShape& shape) {
  return multiples(shape, 32, 32);
}
bool multiples_of_64(const ConvolutionShape& shape) {
  return multiples(shape, 64, 64);
}
bool multiples_of_64_and_128(const ConvolutionShape& shape) {
  return multiples(shape, 64, 128);
}

template <class T>
constexpr std::array kTensorCoreKernels{
    ConvolutionKernel<T>{"wgmma", convolution_wgmma_takes, convolution_wgmma<T>},
    ConvolutionKernel<T>{"wgmma_large", convolution_wgmma_large_takes, convolution_wgmma_large<T>},
    ConvolutionKernel<T>{"implicit_gemm", multiples_of_64, convolution_implicit_gemm<T>},
    ConvolutionKernel<T>{"implicit_gemm_small", multiples_of_64, convolution_implicit_gemm_small<T>},
    ConvolutionKernel<T>{"implicit_gemm_large", multiples_of_64_and_128, convolution_implicit_gemm_large<T>},
    ConvolutionKernel<T>{"direct", multiples_of_32, convolution_direct<T>}};

constexpr std::array kFloatKernels{
    ConvolutionKernel<float>{"direct", multiples_of_32, convolution_direct<float>}};

}  // namespace

template <>
std::span<const ConvolutionKernel<float>> convolution_kernels<float>() {
  return kFloatKernels;
}
template <>
std::span<const ConvolutionKernel<Half>> convolution_kernels<Half>() {
  return kTensorCoreKernels<Half>;
}
template <>
std::span<const ConvolutionKernel<Bfloat16>> convolution_kernels<Bfloat16>() {
  return kTensorCoreKernels<Bfloat16>;
}

}  // namespace filterscope::kernels
