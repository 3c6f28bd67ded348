#pragma once

#include <memory>
#include <vector>

#include "convolution.h"

namespace filterscope::cuda {

/// Variants of `problem` by the project's kernels (kernels/convolution/convolution.h), for the mask formats
/// none and bits, in fp32, bf16 and fp16. The kernel for CUDA cores is included only if none for tensor cores
/// applies. Kernels that cannot fuse a pool are followed by a pool kernel. `search` makes no difference.
std::vector<std::unique_ptr<ConvolutionVariant>> native_variants(const ConvolutionProblem& problem,
                                                                 PlanSearch search = PlanSearch::untimed,
                                                                 const TimingBudget& has_time = {});

/// The reference variant: the kernel for CUDA cores, the simplest one. It supports every mask format except
/// writing bytes, and computes tf32 in fp32. Null if it does not support the number of channels.
std::unique_ptr<ConvolutionVariant> reference_variant(const ConvolutionProblem& problem);

/// Adds a mask to `inner`, a variant without one, by a pass over its result: fprop packs the mask (bits;
/// activation needs no pass), dgrad applies it (any format).
std::unique_ptr<ConvolutionVariant> with_mask(std::unique_ptr<ConvolutionVariant> inner, MaskFormat mask);

/// Adds a pool to `inner`, a variant without one, by another pass.
std::unique_ptr<ConvolutionVariant> with_pool(std::unique_ptr<ConvolutionVariant> inner);

}  // namespace filterscope::cuda
