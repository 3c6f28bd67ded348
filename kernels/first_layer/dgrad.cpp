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
    LastGradientKernel<T>{"mma", just_64, last_gradient_mma<T>},
    LastGradientKernel<T>{"direct", multiples_of_64, last_gradient_direct<T>}};

constexpr std::array kFloatKernels{
    LastGradientKernel<float>{"direct", multiples_of_64, last_gradient_direct<float>}};

}  // namespace

template <>
std::span<const LastGradientKernel<float>> last_gradient_kernels<float>() {
  return kFloatKernels;
}
template <>
std::span<const LastGradientKernel<Half>> last_gradient_kernels<Half>() {
  return kTensorCoreKernels<Half>;
}
template <>
std::span<const LastGradientKernel<Bfloat16>> last_gradient_kernels<Bfloat16>() {
  return kTensorCoreKernels<Bfloat16>;
}

}  // namespace filterscope::kernels
