#include "own_convolution.h"

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
class OwnConvolution final : public ConvolutionVariant {
 public:
  OwnConvolution(const ConvolutionProblem& problem, const kernels::ConvolutionKernel<T>& kernel)
      : problem_(problem), kernel_(kernel) {}

  std::string name() const override { return fmt::format("filterscope {}", kernel_.name); }
  const ConvolutionProblem& problem() const override { return problem_; }
  WeightLayout weight_layout() const override {
    return problem_.direction == Direction::forward ? WeightLayout::krsc : WeightLayout::crsk_rotated;
  }
  BiasType bias_type() const override { return BiasType::fp32; }
  std::size_t workspace_bytes() const override { return 0; }

  void launch(const ConvolutionArguments& arguments, cudaStream_t stream) override {
    const bool forward = problem_.direction == Direction::forward;
    const bool bits = problem_.gate == Gate::bits;
    const bool pooled = problem_.pooled;
    kernel_.launch(
        {.input = static_cast<const T*>(arguments.source),
         .weights = static_cast<const T*>(arguments.weights),
         .bias = forward ? static_cast<const float*>(arguments.bias) : nullptr,
         .output = static_cast<T*>(arguments.destination),
         .mask = forward && bits ? static_cast<std::uint32_t*>(arguments.gate_out) : nullptr,
         .gate = !forward && bits ? static_cast<const std::uint32_t*>(arguments.gate_in) : nullptr,
         .images_count = problem_.images,
         .height = problem_.height,
         .width = problem_.width,
         .in_channels = problem_.source_channels(),
         .out_channels = problem_.destination_channels(),
         .output_pool = forward && pooled ? kernels::PoolBits{arguments.winners, arguments.open}
                                          : kernels::PoolBits<std::uint32_t>{},
         .input_pool = !forward && pooled
                           ? kernels::PoolBits<const std::uint32_t>{arguments.winners, arguments.open}
                           : kernels::PoolBits<const std::uint32_t>{}},
        stream);
  }

 private:
  ConvolutionProblem problem_;
  kernels::ConvolutionKernel<T> kernel_;
};

class GatedConvolution final : public ConvolutionVariant {
 public:
  GatedConvolution(std::unique_ptr<ConvolutionVariant> inner, Gate gate)
      : inner_(std::move(inner)), problem_(inner_->problem()) {
    assert(problem_.gate == Gate::none);
    problem_.gate = gate;
  }

  std::string name() const override {
    return problem_.direction == Direction::forward && problem_.gate == Gate::activation
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
      if (problem_.direction == Direction::input_gradient) {
        kernels::apply_relu_mask(static_cast<T*>(arguments.destination), count,
                                 {to_kernel_gate(problem_.gate), arguments.gate_in}, stream);
      } else if (problem_.gate == Gate::bits) {
        kernels::pack_relu_mask(static_cast<const T*>(arguments.destination), count,
                                static_cast<std::uint32_t*>(arguments.gate_out), stream);
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
      if (problem_.direction == Direction::forward) {
        own.destination = arguments.map;
        inner_->launch(own, stream);
        kernels::max_pool<T>({.input = static_cast<const T*>(arguments.map),
                              .output = static_cast<T*>(arguments.destination),
                              .winners = arguments.winners,
                              .open = arguments.open,
                              .images_count = problem_.images,
                              .height = problem_.height,
                              .width = problem_.width,
                              .channels = problem_.out_channels},
                             stream);
      } else {
        kernels::max_pool_gradient<T>({.output_gradient = static_cast<const T*>(arguments.source),
                                       .winners = arguments.winners,
                                       .open = arguments.open,
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
          .pool = !problem.pooled                           ? FusedPool::none
                  : problem.direction == Direction::forward ? FusedPool::output
                                                            : FusedPool::input};
}

}  // namespace

std::vector<std::unique_ptr<ConvolutionVariant>> own_variants(const ConvolutionProblem& problem, PlanSearch,
                                                              const MayTime&) {
  std::vector<std::unique_ptr<ConvolutionVariant>> variants;
  if ((problem.gate != Gate::none && problem.gate != Gate::bits) || problem.precision == Precision::tf32) {
    return variants;
  }
  ConvolutionProblem without_pool = problem;
  without_pool.pooled = false;
  with_storage(problem.precision, [&]<class T>(Storage<T>) {
    for (const kernels::ConvolutionKernel<T>& kernel : kernels::convolution_kernels<T>()) {
      if (kernel.launch == kernels::convolution_direct<T> && !variants.empty()) continue;
      if (kernel.supports(shape_of(problem))) {
        variants.push_back(std::make_unique<OwnConvolution<T>>(problem, kernel));
      } else if (problem.pooled && kernel.supports(shape_of(without_pool))) {
        variants.push_back(with_pool(std::make_unique<OwnConvolution<T>>(without_pool, kernel)));
      }
    }
  });
  return variants;
}

std::unique_ptr<ConvolutionVariant> plainest_variant(const ConvolutionProblem& problem) {
  if (problem.pooled) {
    ConvolutionProblem without_pool = problem;
    without_pool.pooled = false;
    auto inner = plainest_variant(without_pool);
    return inner == nullptr ? nullptr : with_pool(std::move(inner));
  }
  if (problem.gate == Gate::activation || problem.gate == Gate::bytes) {
    assert(problem.gate == Gate::activation || problem.direction == Direction::input_gradient);
    ConvolutionProblem without_gate = problem;
    without_gate.gate = Gate::none;
    auto inner = plainest_variant(without_gate);
    return inner == nullptr ? nullptr : with_gate(std::move(inner), problem.gate);
  }
  return with_storage(problem.precision, [&]<class T>(Storage<T>) -> std::unique_ptr<ConvolutionVariant> {
    for (const kernels::ConvolutionKernel<T>& kernel : kernels::convolution_kernels<T>()) {
      if (kernel.launch == kernels::convolution_direct<T> && kernel.supports(shape_of(problem)))
        return std::make_unique<OwnConvolution<T>>(problem, kernel);
    }
    return nullptr;
  });
}

std::unique_ptr<ConvolutionVariant> with_pool(std::unique_ptr<ConvolutionVariant> inner) {
  return std::make_unique<PooledConvolution>(std::move(inner));
}

std::unique_ptr<ConvolutionVariant> with_gate(std::unique_ptr<ConvolutionVariant> inner, Gate gate) {
  return std::make_unique<GatedConvolution>(std::move(inner), gate);
}

}  // namespace filterscope::cuda
