#pragma once

#include <memory>
#include <vector>

#include "convolution.h"

namespace filterscope::cuda {

/// The project's own kernels (kernels/convolution/convolution.h) that can compute `problem`: with gates none
/// and bits, in fp32, bf16 and fp16. Those of the CUDA cores only where those of the tensor cores do not
/// apply; those that do not include a pool have it as a pass of its own. The same ones whatever the search.
std::vector<std::unique_ptr<ConvolutionVariant>> own_variants(const ConvolutionProblem& problem,
                                                              PlanSearch search = PlanSearch::untimed,
                                                              const MayTime& may_time = {});

/// By the kernel of the CUDA cores, with the fewest ways to go wrong, whatever else there is: any gate but
/// bytes that are to be written. In tf32 it multiplies in fp32. Null for other channels than it takes.
std::unique_ptr<ConvolutionVariant> plainest_variant(const ConvolutionProblem& problem);

/// `inner`, a variant without a gate, made into one with `gate` by a pass over its result: forward packs the
/// mask (bits; activation needs no pass), input gradient multiplies with it (any gate).
std::unique_ptr<ConvolutionVariant> with_gate(std::unique_ptr<ConvolutionVariant> inner, Gate gate);

/// `inner`, a variant without a pool, made into one with it by another pass.
std::unique_ptr<ConvolutionVariant> with_pool(std::unique_ptr<ConvolutionVariant> inner);

}  // namespace filterscope::cuda
