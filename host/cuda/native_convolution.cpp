#include "native_convolution.h"

#include <fmt/format.h>

#include <cassert>
#include <cstdint>
#include <utility>

#include "kernels/convolution/convolution.h"
#include "kernels/pool/max_pool.h"
#include "kernels/relu/relu_mask.h"
#include "storage.h"

namespace filterscope::cuda {

namespace {

template <class T>
class NativeConvolution final : public ConvolutionVariant {
 public:
  NativeConvolution(const ConvolutionProblem& problem, const kernels::ConvolutionKernel<T>& kernel)
      : problem_(problem), kernel_(kernel) {}

  std::string name() const override { return fmt::format("filterscope {}", kernel_.name); }
  const ConvolutionProblem& problem() const override { return problem_; }
  WeightLayout weight_layout() const override {
    return problem_.direction == Direction::fprop ? WeightLayout::krsc : WeightLayout::crsk_rotated;
  }
  BiasType bias_type() const override { return BiasType::fp32; }
  std::size_t workspace_bytes() const override { return 0; }

  void launch(const ConvolutionArguments& arguments, cudaStream_t stream) override {
    const bool fprop = problem_.direction == Direction::fprop;
    const bool bits = problem_.mask == MaskFormat::bits;
    const bool pooled = problem_.pooled;
    kernel_.launch(
        {.input = static_cast<const T*>(arguments.source),
         .weights = static_cast<const T*>(arguments.weights),
         .bias = fprop ? static_cast<const float*>(arguments.bias) : nullptr,
         .output = static_cast<T*>(arguments.destination),
         .mask_out = fprop && bits ? static_cast<std::uint32_t*>(arguments.mask_out) : nullptr,
         .mask_in = !fprop && bits ? static_cast<const std::uint32_t*>(arguments.mask_in) : nullptr,
         .images_count = problem_.images,
         .height = problem_.height,
         .width = problem_.width,
         .in_channels = problem_.source_channels(),
         .out_channels = problem_.destination_channels(),
         .output_pool = fprop && pooled ? kernels::PoolIndices{arguments.argmax, arguments.active}
                                        : kernels::PoolIndices<std::uint32_t>{},
         .input_pool = !fprop && pooled
                           ? kernels::PoolIndices<const std::uint32_t>{arguments.argmax, arguments.active}
                           : kernels::PoolIndices<const std::uint32_t>{}},
        stream);
  }

 private:
  ConvolutionProblem problem_;
  kernels::ConvolutionKernel<T> kernel_;
};

class MaskedConvolution final : public ConvolutionVariant {
 public:
  MaskedConvolution(std::unique_ptr<ConvolutionVariant> inner, MaskFormat mask)
      : inner_(std::move(inner)), problem_(inner_->problem()) {
    assert(problem_.mask == MaskFormat::none);
    problem_.mask = mask;
  }

  std::string name() const override {
    return problem_.direction == Direction::fprop && problem_.mask == MaskFormat::activation
               ? inner_->name()
               : inner_->name() + " + mask";
  }
  const ConvolutionProblem& problem() const override { return problem_; }
  WeightLayout weight_layout() const override { return inner_->weight_layout(); }
  BiasType bias_type() const override { return inner_->bias_type(); }
  std::size_t workspace_bytes() const override { return inner_->workspace_bytes(); }
  bool needs_map() const override { return inner_->needs_map(); }
  double setup_seconds() const override { return inner_->setup_seconds(); }
  bool make_ready() override { return inner_->make_ready(); }

  void launch(const ConvolutionArguments& arguments, cudaStream_t stream) override {
    inner_->launch(arguments, stream);
    const auto count = static_cast<std::int64_t>(problem_.destination_size());
    with_storage(problem_.precision, [&]<class T>(Storage<T>) {
      if (problem_.direction == Direction::dgrad) {
        kernels::apply_relu_mask(static_cast<T*>(arguments.destination), count,
                                 {problem_.mask, arguments.mask_in}, stream);
      } else if (problem_.mask == MaskFormat::bits) {
        kernels::pack_relu_mask(static_cast<const T*>(arguments.destination), count,
                                static_cast<std::uint32_t*>(arguments.mask_out), stream);
      }
    });
  }

 private:
  std::unique_ptr<ConvolutionVariant> inner_;
  ConvolutionProblem problem_;
};

class PooledConvolution final : public ConvolutionVariant {
 public:
  explicit PooledConvolution(std::unique_ptr<ConvolutionVariant> inner)
      : inner_(std::move(inner)), problem_(inner_->problem()) {
    assert(!problem_.pooled);
    problem_.pooled = true;
  }

  std::string name() const override { return inner_->name() + " + pool"; }
  const ConvolutionProblem& problem() const override { return problem_; }
  WeightLayout weight_layout() const override { return inner_->weight_layout(); }
  BiasType bias_type() const override { return inner_->bias_type(); }
  std::size_t workspace_bytes() const override { return inner_->workspace_bytes(); }
  bool needs_map() const override { return true; }
  double setup_seconds() const override { return inner_->setup_seconds(); }
  bool make_ready() override { return inner_->make_ready(); }

  void launch(const ConvolutionArguments& arguments, cudaStream_t stream) override {
    ConvolutionArguments own = arguments;
    with_storage(problem_.precision, [&]<class T>(Storage<T>) {
      if (problem_.direction == Direction::fprop) {
        own.destination = arguments.map;
        inner_->launch(own, stream);
        kernels::max_pool<T>({.input = static_cast<const T*>(arguments.map),
                              .output = static_cast<T*>(arguments.destination),
                              .argmax = arguments.argmax,
                              .active = arguments.active,
                              .images_count = problem_.images,
                              .height = problem_.height,
                              .width = problem_.width,
                              .channels = problem_.out_channels},
                             stream);
      } else {
        kernels::max_pool_gradient<T>({.output_gradient = static_cast<const T*>(arguments.source),
                                       .argmax = arguments.argmax,
                                       .active = arguments.active,
                                       .input_gradient = static_cast<T*>(arguments.map),
                                       .images_count = problem_.images,
                                       .height = problem_.height,
                                       .width = problem_.width,
                                       .channels = problem_.out_channels},
                                      stream);
        own.source = arguments.map;
        inner_->launch(own, stream);
      }
    });
  }

 private:
  std::unique_ptr<ConvolutionVariant> inner_;
  ConvolutionProblem problem_;
};

kernels::ConvolutionShape shape_of(const ConvolutionProblem& problem) {
  using kernels::FusedPool;
  return {.height = problem.height,
          .width = problem.width,
          .in_channels = problem.source_channels(),
          .out_channels = problem.destination_channels(),
          .pool = !problem.pooled                         ? FusedPool::none
                  : problem.direction == Direction::fprop ? FusedPool::output
                                                          : FusedPool::input};
}

}  // namespace

std::vector<std::unique_ptr<ConvolutionVariant>> native_variants(const ConvolutionProblem& problem,
                                                                 PlanSearch, const TimingBudget&) {
  std::vector<std::unique_ptr<ConvolutionVariant>> variants;
  if ((problem.mask != MaskFormat::none && problem.mask != MaskFormat::bits) ||
      problem.precision == Precision::tf32) {
    return variants;
  }
  ConvolutionProblem without_pool = problem;
  without_pool.pooled = false;
  with_storage(problem.precision, [&]<class T>(Storage<T>) {
    for (const kernels::ConvolutionKernel<T>& kernel : kernels::convolution_kernels<T>()) {
      if (kernel.launch == kernels::convolution_direct<T> && !variants.empty()) continue;
      if (kernel.supports(shape_of(problem))) {
        variants.push_back(std::make_unique<NativeConvolution<T>>(problem, kernel));
      } else if (problem.pooled && kernel.supports(shape_of(without_pool))) {
        variants.push_back(with_pool(std::make_unique<NativeConvolution<T>>(without_pool, kernel)));
      }
    }
  });
  return variants;
}

std::unique_ptr<ConvolutionVariant> reference_variant(const ConvolutionProblem& problem) {
  if (problem.pooled) {
    ConvolutionProblem without_pool = problem;
    without_pool.pooled = false;
    auto inner = reference_variant(without_pool);
    return inner == nullptr ? nullptr : with_pool(std::move(inner));
  }
  if (problem.mask == MaskFormat::activation || problem.mask == MaskFormat::bytes) {
    assert(problem.mask == MaskFormat::activation || problem.direction == Direction::dgrad);
    ConvolutionProblem without_mask = problem;
    without_mask.mask = MaskFormat::none;
    auto inner = reference_variant(without_mask);
    return inner == nullptr ? nullptr : with_mask(std::move(inner), problem.mask);
  }
  return with_storage(problem.precision, [&]<class T>(Storage<T>) -> std::unique_ptr<ConvolutionVariant> {
    for (const kernels::ConvolutionKernel<T>& kernel : kernels::convolution_kernels<T>()) {
      if (kernel.launch == kernels::convolution_direct<T> && kernel.supports(shape_of(problem)))
        return std::make_unique<NativeConvolution<T>>(problem, kernel);
    }
    return nullptr;
  });
}

std::unique_ptr<ConvolutionVariant> with_pool(std::unique_ptr<ConvolutionVariant> inner) {
  return std::make_unique<PooledConvolution>(std::move(inner));
}

std::unique_ptr<ConvolutionVariant> with_mask(std::unique_ptr<ConvolutionVariant> inner, MaskFormat mask) {
  return std::make_unique<MaskedConvolution>(std::move(inner), mask);
}

}  // namespace filterscope::cuda
