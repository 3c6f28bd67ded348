#include "dgrad.h"

#include <array>

namespace filterscope::kernels {
namespace {

bool multiples_of_64(int channels) {
  return channels % 64 == 0;
}
bool just_64(int channels) {
  return channels == 64;
}

template <class T>
constexpr std::array kTensorCoreKernels{
    FirstLayerDgradKernel<T>{"mma", just_64, first_layer_dgrad_mma<T>},
    FirstLayerDgradKernel<T>{"direct", multiples_of_64, first_layer_dgrad_direct<T>}};

constexpr std::array kFloatKernels{
    FirstLayerDgradKernel<float>{"direct", multiples_of_64, first_layer_dgrad_direct<float>}};

}  // namespace

template <>
std::span<const FirstLayerDgradKernel<float>> first_layer_dgrad_kernels<float>() {
  return kFloatKernels;
}
template <>
std::span<const FirstLayerDgradKernel<Half>> first_layer_dgrad_kernels<Half>() {
  return kTensorCoreKernels<Half>;
}
template <>
std::span<const FirstLayerDgradKernel<Bfloat16>> first_layer_dgrad_kernels<Bfloat16>() {
  return kTensorCoreKernels<Bfloat16>;
}

}  // namespace filterscope::kernels
