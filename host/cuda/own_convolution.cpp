#include "own_convolution.h"

#include <fmt/format.h>

#include <cassert>
#include <cstdint>
#include <utility>

#include "kernels/convolution.h"
#include "kernels/relu_mask.h"
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
    kernel_.launch({.input = static_cast<const T*>(arguments.source),
                    .weights = static_cast<const T*>(arguments.weights),
                    .bias = forward ? static_cast<const float*>(arguments.bias) : nullptr,
                    .output = static_cast<T*>(arguments.destination),
                    .mask = forward && bits ? static_cast<std::uint32_t*>(arguments.gate_out) : nullptr,
                    .gate = !forward && bits ? static_cast<const std::uint32_t*>(arguments.gate_in) : nullptr,
                    .images_count = problem_.images,
                    .height = problem_.height,
                    .width = problem_.width,
                    .in_channels = problem_.source_channels(),
                    .out_channels = problem_.destination_channels()},
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
  double setup_seconds() const override { return inner_->setup_seconds(); }
  bool make_ready() override { return inner_->make_ready(); }

  void launch(const ConvolutionArguments& arguments, cudaStream_t stream) override {
    inner_->launch(arguments, stream);
    const std::int64_t count =
        std::int64_t{problem_.images} * problem_.height * problem_.width * problem_.destination_channels();
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

}  // namespace

std::vector<std::unique_ptr<ConvolutionVariant>> own_variants(const ConvolutionProblem& problem, PlanSearch,
                                                              const MayTime&) {
  std::vector<std::unique_ptr<ConvolutionVariant>> variants;
  if ((problem.gate != Gate::none && problem.gate != Gate::bits) || problem.precision == Precision::tf32) {
    return variants;
  }
  with_storage(problem.precision, [&]<class T>(Storage<T>) {
    for (const kernels::ConvolutionKernel<T>& kernel : kernels::convolution_kernels<T>()) {
      if (!kernel.supports(problem.width, problem.source_channels(), problem.destination_channels())) continue;
      if (kernel.launch == kernels::convolution_direct<T> && !variants.empty()) continue;
      variants.push_back(std::make_unique<OwnConvolution<T>>(problem, kernel));
    }
  });
  return variants;
}

std::unique_ptr<ConvolutionVariant> with_gate(std::unique_ptr<ConvolutionVariant> inner, Gate gate) {
  return std::make_unique<GatedConvolution>(std::move(inner), gate);
}

}  // namespace filterscope::cuda
