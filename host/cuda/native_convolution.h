#pragma once

#include <memory>
#include <vector>

#include "convolution.h"

namespace filterscope::cuda {

/// The project's own kernels (kernels/convolution/convolution.h) that can compute `problem`: with masks none
/// and bits, in fp32, bf16 and fp16. Those of the CUDA cores only where those of the tensor cores do not
/// apply; those that do not include a pool have it as a pass of its own. The same ones whatever the search.
std::vector<std::unique_ptr<ConvolutionVariant>> native_variants(const ConvolutionProblem& problem,
                                                                 PlanSearch search = PlanSearch::untimed,
                                                                 const TimingBudget& has_time = {});

/// By the kernel of the CUDA cores, with the fewest ways to go wrong, whatever else there is: any mask but
/// bytes that are to be written. In tf32 it multiplies in fp32. Null for other channels than it takes.
std::unique_ptr<ConvolutionVariant> reference_variant(const ConvolutionProblem& problem);

/// `inner`, a variant without a mask, made into one with `mask` by a pass over its result: forward packs the
/// mask (bits; activation needs no pass), dgrad multiplies with it (any mask).
std::unique_ptr<ConvolutionVariant> with_mask(std::unique_ptr<ConvolutionVariant> inner, MaskFormat mask);

/// `inner`, a variant without a pool, made into one with it by another pass.
std::unique_ptr<ConvolutionVariant> with_pool(std::unique_ptr<ConvolutionVariant> inner);

}  // namespace filterscope::cuda
