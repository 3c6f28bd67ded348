#pragma once

#include <cstdint>

#include "../common/types.h"
#include "mask_format.h"

namespace filterscope::kernels {

/// Writes the mask of a ReLU's output `values`, as MaskFormat::bits. `count` elements, a multiple of 32;
/// `values` is 16-byte aligned. Throws LaunchError.
template <class T>
void pack_relu_mask(const T* values, std::int64_t count, std::uint32_t* bits, cudaStream_t stream);

/// Zeroes the gradient, in place, where the mask is inactive. `count` elements, a multiple of 32; gradient
/// and mask are 16-byte aligned. Throws LaunchError.
template <class T>
void apply_relu_mask(T* gradient, std::int64_t count, const ReluMask& mask, cudaStream_t stream);

}  // namespace filterscope::kernels
