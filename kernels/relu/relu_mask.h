#pragma once

#include <cstdint>

#include "../common/types.h"
#include "mask_format.h"

namespace filterscope::kernels {

/// bits[i] = values above zero, as MaskFormat::bits. `values`: a ReLU's output, `count` elements, a multiple
/// of 32, 16-byte aligned.
template <class T>
void pack_relu_mask(const T* values, std::int64_t count, std::uint32_t* bits, cudaStream_t stream);

/// gradient[i] = 0 where the mask is inactive, in place. `count` as above.
template <class T>
void apply_relu_mask(T* gradient, std::int64_t count, const ReluMask& mask, cudaStream_t stream);

}  // namespace filterscope::kernels
