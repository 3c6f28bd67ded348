#include "fprop.h"

#include <array>

namespace filterscope::kernels {
namespace {

template <class T>
constexpr std::array kTensorCoreKernels{FirstLayerFpropKernel<T>{"mma", first_layer_fprop_mma<T>},
                                        FirstLayerFpropKernel<T>{"direct", first_layer_fprop_direct<T>}};

constexpr std::array kFloatKernels{FirstLayerFpropKernel<float>{"direct", first_layer_fprop_direct<float>}};

}  // namespace

template <>
std::span<const FirstLayerFpropKernel<float>> first_layer_fprop_kernels<float>() {
  return kFloatKernels;
}
template <>
std::span<const FirstLayerFpropKernel<Half>> first_layer_fprop_kernels<Half>() {
  return kTensorCoreKernels<Half>;
}
template <>
std::span<const FirstLayerFpropKernel<Bfloat16>> first_layer_fprop_kernels<Bfloat16>() {
  return kTensorCoreKernels<Bfloat16>;
}

}  // namespace filterscope::kernels
