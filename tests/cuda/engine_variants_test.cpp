// The CUDA engine with other variants of convolutions: every mask format, fused pools, and kernels with
// mistakes. On the emulated device only. See engine_test.cpp.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "engine_gradients.h"
#include "host/cuda/engine.h"
#include "host/cuda/native_convolution.h"
#include "kernels/common/global.h"
#include "kernels/common/launch.h"
#include "tests/support/gradient_fidelity.h"
#include "tests/support/random_network.h"

namespace filterscope {
namespace {

// Writes a layer's ReLU mask as bytes, which no kernel of the project does.
void write_bytes(kernels::Global<const float> values, kernels::Global<std::uint8_t> bytes) {
  const std::int64_t i = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  bytes.store(i, values.load(i) > 0.f ? 1 : 0);
}
class ForwardWithBytes final : public cuda::ConvolutionVariant {
 public:
  ForwardWithBytes(std::unique_ptr<cuda::ConvolutionVariant> inner)
      : inner_(std::move(inner)), problem_(inner_->problem()) {
    problem_.mask = cuda::MaskFormat::bytes;
  }
  std::string name() const override { return "bytes"; }
  const cuda::ConvolutionProblem& problem() const override { return problem_; }
  cuda::WeightLayout weight_layout() const override { return inner_->weight_layout(); }
  cuda::BiasType bias_type() const override { return inner_->bias_type(); }
  std::size_t workspace_bytes() const override { return 0; }
  void launch(const cuda::ConvolutionArguments& arguments, cudaStream_t stream) override {
    inner_->launch(arguments, stream);
    const unsigned count = problem_.images * problem_.height * problem_.width * problem_.out_channels;
    kernels::launch("bytes", write_bytes, {dim3(count / 32), dim3(32)}, stream,
                    static_cast<const float*>(arguments.destination),
                    static_cast<std::uint8_t*>(arguments.mask_out));
  }

 private:
  std::unique_ptr<cuda::ConvolutionVariant> inner_;
  cuda::ConvolutionProblem problem_;
};

// The project's kernels with one mask format only, except for the first layer, which has 64 channels and its
// own kernels.
cuda::ConvolutionSource only(cuda::MaskFormat mask) {
  return [mask](const cuda::ConvolutionProblem& problem, cuda::PlanSearch, const cuda::TimingBudget&) {
    std::vector<std::unique_ptr<cuda::ConvolutionVariant>> variants;
    const bool above_first_layer = problem.direction == cuda::Direction::dgrad && problem.in_channels == 64;
    if (problem.mask != (above_first_layer ? cuda::MaskFormat::none : mask)) return variants;
    if (above_first_layer) return cuda::native_variants(problem);
    cuda::ConvolutionProblem plain = problem;
    plain.mask = cuda::MaskFormat::none;
    auto own = std::move(cuda::native_variants(plain).front());
    if (problem.mask == cuda::MaskFormat::bytes && problem.direction == cuda::Direction::fprop) {
      variants.push_back(std::make_unique<ForwardWithBytes>(std::move(own)));
    } else {
      variants.push_back(cuda::with_mask(std::move(own), problem.mask));
    }
    return variants;
  };
}

TEST(CudaEngineRun, EveryMaskFormatGivesTheSame) {
  const Network network = test::make_network({{64}, {32}, {32}, {32}});
  const Weights weights = test::random_weights(network, 3);
  const RunOptions options = options_for({7, 6});
  const std::vector<FilterId> filters{{0, 1}, {1, 4}, {2, 0}, {3, 31}};
  const Collector bits = render(network, weights, short_recipe(3), options, filters);
  const std::vector<float> images = test::random_values(filters.size() * 7 * 6 * 3, 8);
  const auto gradients =
      make_native_renderer(network, weights, short_recipe(3), options)->gradients(filters, images);
  for (const cuda::MaskFormat mask : {cuda::MaskFormat::activation, cuda::MaskFormat::bytes}) {
    const auto renderer = make_native_renderer(network, weights, short_recipe(3), options, only(mask));
    Collector got;
    renderer->render(filters, got, {});
    EXPECT_THAT(renderer->describe().plans.at(0), testing::HasSubstr("mask " + std::string(to_string(mask))));
    for (const auto& [id, result] : bits.results) EXPECT_EQ(got.results.at(id).image, result.image);
    const auto others = renderer->gradients(filters, images);
    for (std::size_t i = 0; i < filters.size(); ++i) {
      EXPECT_EQ(others[i].gradient, gradients[i].gradient);
      EXPECT_EQ(others[i].masks->layers, gradients[i].masks->layers);
    }
  }
}

TEST(CudaEngineRun, WithoutCudnnUsesTheProjectsKernelsAndSaysSo) {
  const Network network = test::make_network({{64}, {64}});
  const Weights weights = test::random_weights(network, 3);
  const auto make = [&](const RunOptions& options) {
    return make_cuda_renderer(network, weights, short_recipe(1), options,
                              {.sources = {cuda::native_variants},
                               .rule = cuda::PlanRule::fixed,
                               .timings = {},
                               .libraries = {},
                               .missing = "cuDNN cannot be loaded; install it"});
  };
  Collector collector;
  make(options_for({4, 4}))->render(std::vector<FilterId>{{1, 3}}, collector, {});
  EXPECT_EQ(collector.results.size(), 1u);
  EXPECT_THAT(collector.notices,
              testing::ElementsAre(testing::StartsWith("cuDNN cannot be loaded; install it")));
  EXPECT_THAT(
      [&] {
        make(options_for({4, 4}, Precision::tf32));
      },
      testing::ThrowsMessage<Error>(
          testing::AllOf(testing::HasSubstr("--precision tf32"), testing::HasSubstr("install it"))));
}

// A kernel that fuses the pool, and with it the mask below, never stores the map before the pool.
TEST(CudaEngineRun, FusedPoolsGiveTheSame) {
  const Network network = test::make_network({{64}, {64, true}, {64}, {64, true}, {64}});
  const Weights weights = test::random_weights(network, 3);
  const RunOptions options = options_for({8, 12}, Precision::fp16);
  const std::vector<FilterId> filters{{1, 4}, {2, 0}, {3, 60}, {4, 10}};
  // Both sum in the same order.
  const auto by = [](bool fused) -> cuda::ConvolutionSource {
    return [fused](const cuda::ConvolutionProblem& problem, cuda::PlanSearch, const cuda::TimingBudget&) {
      cuda::ConvolutionProblem asked = problem;
      asked.pooled = fused && problem.pooled;
      std::vector<std::unique_ptr<cuda::ConvolutionVariant>> variants;
      for (auto& variant : cuda::native_variants(asked)) {
        if (variant->name() != "filterscope wgmma") continue;
        const bool wrap = problem.pooled && !fused;
        variants.push_back(wrap ? cuda::with_pool(std::move(variant)) : std::move(variant));
      }
      return variants;
    };
  };
  const Collector fused = render(network, weights, short_recipe(2), options, filters, by(true));
  const Collector apart = render(network, weights, short_recipe(2), options, filters, by(false));
  ASSERT_EQ(fused.results.size(), filters.size());
  for (const auto& [id, result] : apart.results) {
    EXPECT_EQ(result.status, FilterStatus::ok);
    EXPECT_EQ(fused.results.at(id).image, result.image);
    EXPECT_EQ(fused.results.at(id).final_loss, result.final_loss);
  }
  const std::vector<float> images = test::random_values(filters.size() * options.extent.positions() * 3, 8);
  const auto gradients = [&](bool fuse) {
    return make_native_renderer(network, weights, short_recipe(2), options, by(fuse))
        ->gradients(filters, images);
  };
  const auto fused_gradients = gradients(true);
  const auto apart_gradients = gradients(false);
  for (std::size_t i = 0; i < filters.size(); ++i) {
    EXPECT_EQ(fused_gradients[i].gradient, apart_gradients[i].gradient);
    EXPECT_EQ(fused_gradients[i].masks->layers, apart_gradients[i].masks->layers);
  }
}

enum class Mistake { none, weights_not_rotated, mask_forgotten, masks_left_active };

void activate_all(kernels::Global<std::uint32_t> words) {
  words.store(std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x, 0xffffffffu);
}
// A kernel of the project with a mistake.
class Mistaken final : public cuda::ConvolutionVariant {
 public:
  Mistaken(Mistake mistake, std::unique_ptr<cuda::ConvolutionVariant> inner,
           const cuda::ConvolutionProblem& problem)
      : mistake_(mistake), inner_(std::move(inner)), problem_(problem) {}
  std::string name() const override { return "mistaken"; }
  const cuda::ConvolutionProblem& problem() const override { return problem_; }
  cuda::WeightLayout weight_layout() const override {
    return mistake_ == Mistake::weights_not_rotated ? cuda::WeightLayout::krsc : inner_->weight_layout();
  }
  cuda::BiasType bias_type() const override { return inner_->bias_type(); }
  std::size_t workspace_bytes() const override { return 0; }
  void launch(const cuda::ConvolutionArguments& arguments, cudaStream_t stream) override {
    inner_->launch(arguments, stream);
    if (mistake_ != Mistake::masks_left_active) return;
    const unsigned words = problem_.height * problem_.width * problem_.out_channels / 32;
    kernels::launch("activate_all", activate_all, {dim3(words), dim3(1)}, stream,
                    static_cast<std::uint32_t*>(arguments.mask_out));  // The first image only.
  }

 private:
  Mistake mistake_;
  std::unique_ptr<cuda::ConvolutionVariant> inner_;
  cuda::ConvolutionProblem problem_;
};

// Used only for 128 channels.
cuda::ConvolutionSource with_mistake(Mistake mistake) {
  return [mistake](const cuda::ConvolutionProblem& problem, cuda::PlanSearch, const cuda::TimingBudget&) {
    const bool fprop = problem.direction == cuda::Direction::fprop;
    if (mistake == Mistake::none || problem.in_channels != 128 || problem.out_channels != 128 ||
        fprop != (mistake == Mistake::masks_left_active) ||
        (mistake != Mistake::weights_not_rotated && problem.mask != cuda::MaskFormat::bits)) {
      return cuda::native_variants(problem);
    }
    cuda::ConvolutionProblem inner = problem;
    if (mistake == Mistake::mask_forgotten) inner.mask = cuda::MaskFormat::none;
    auto variants = cuda::native_variants(inner);
    for (auto& variant : variants) {
      variant = std::make_unique<Mistaken>(mistake, std::move(variant), problem);
    }
    return variants;
  };
}

TEST(GradientFidelity, TellsAMistakeFromRounding) {
  const Network network = test::make_network({{64}, {128}, {128}, {128}, {32}});
  const Weights weights = test::random_weights(network, 3);
  const std::vector<FilterId> filters{{4, 3}};
  const auto summary_with = [&](Mistake mistake, Precision precision) {
    return fidelity::summarise(errors_of_gradients(network, weights, options_for({8, 7}, precision), filters,
                                                   with_mistake(mistake)));
  };
  for (const Precision precision : {Precision::fp32, Precision::fp16, Precision::bf16}) {
    SCOPED_TRACE(to_string(precision));
    const fidelity::GradientLimits limits = fidelity::gradient_limits(precision);
    EXPECT_TRUE(fidelity::within(summary_with(Mistake::none, precision), limits));
    for (const Mistake mistake : {Mistake::weights_not_rotated, Mistake::mask_forgotten}) {
      const fidelity::GradientSummary summary = summary_with(mistake, precision);
      EXPECT_FALSE(fidelity::within(summary, limits));
      EXPECT_GT(*summary.worst_step, 5 * limits.step);
      EXPECT_LT(*summary.masks, limits.masks);
    }
    // The gradient passes correctly through wrong masks.
    const fidelity::GradientSummary summary = summary_with(Mistake::masks_left_active, precision);
    EXPECT_FALSE(fidelity::within(summary, limits));
    EXPECT_LT(*summary.worst_step, limits.step);
    EXPECT_GT(*summary.masks, 5 * limits.masks);
  }
}

}  // namespace
}  // namespace filterscope
