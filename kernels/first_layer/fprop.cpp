#include "fprop.h"

#include <array>

namespace filterscope::kernels {
namespace {

template <class T>
constexpr std::array kTensorCoreKernels{FirstConvolutionKernel<T>{"mma", first_convolution_mma<T>},
                                        FirstConvolutionKernel<T>{"direct", first_convolution_direct<T>}};

constexpr std::array kFloatKernels{FirstConvolutionKernel<float>{"direct", first_convolution_direct<float>}};

}  // namespace

template <>
std::span<const FirstConvolutionKernel<float>> first_convolution_kernels<float>() {
  return kFloatKernels;
}
template <>
std::span<const FirstConvolutionKernel<Half>> first_convolution_kernels<Half>() {
  return kTensorCoreKernels<Half>;
}
template <>
std::span<const FirstConvolutionKernel<Bfloat16>> first_convolution_kernels<Bfloat16>() {
  return kTensorCoreKernels<Bfloat16>;
}

}  // namespace filterscope::kernels
