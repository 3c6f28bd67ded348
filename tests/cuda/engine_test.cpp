// The CUDA engine's results, compared with the double-precision reference and the CPU engine: on the emulated
// device, and with CUDA also on a real one.
#include "host/cpu/engine.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <string>
#include <vector>

#include "engine_gradients.h"
#include "host/cuda/engine.h"
#include "host/cuda/native_convolution.h"
#include "tests/support/gradient_fidelity.h"
#include "tests/support/random_network.h"
#include "tests/support/reference.h"
#include "tests/support/rescue.h"
#if !defined(FILTERSCOPE_EMULATED)
#include <cuda_runtime_api.h>

#include <cstdlib>

#include "host/cuda/backend.h"
#include "tests/support/temporary_folder.h"
#endif

namespace filterscope {
namespace {

// Relative errors of losses and of the image's change after a few iterations.
struct Tolerance {
  double first_loss;
  double final_loss;
  double image;
};

void expect_reference(const Collector& got, const Network& network, const Weights& weights,
                      const Recipe& recipe, const RunOptions& options, const Tolerance& tolerance) {
  for (const auto& [id, result] : got.results) {
    SCOPED_TRACE(network.convolutions[id.layer].name + ":" + std::to_string(id.filter));
    const std::vector<float> start =
        reference::noise_image(recipe.first().start, options.seed, id.layer, id.filter, options.extent);
    const reference::Ascent expected =
        reference::ascend(network, weights, recipe, id.layer, id.filter,
                          reference::Map(options.extent, 3, start), recipe.iterations());
    ASSERT_GT(expected.gradient_norm, 0);
    EXPECT_EQ(result.status, FilterStatus::ok);
    EXPECT_EQ(result.iterations, recipe.iterations());
    EXPECT_NEAR(result.first_loss, expected.losses.front(), tolerance.first_loss * expected.losses.front());
    EXPECT_NEAR(result.final_loss, expected.final_loss, tolerance.final_loss * expected.final_loss);
    ASSERT_EQ(result.trace.size(), std::size_t(recipe.iterations() / options.trace_every));
    for (const TracePoint& point : result.trace) {
      const double loss = expected.losses[point.iteration - 1];
      EXPECT_NEAR(point.loss, loss, tolerance.final_loss * loss);
    }
    EXPECT_LT(test::l2_relative_error(result.image, expected.image.values), tolerance.image);
    const auto picture = reference::min_max_picture(std::span<const float>(result.image));
    ASSERT_EQ(result.picture.size(), picture.size());
    for (std::size_t i = 0; i < picture.size(); ++i) ASSERT_NEAR(result.picture[i], picture[i], 1);
  }
}

// fp32 as in the CPU engine's test. The other precisions round every map and gradient to 8 or 11 bits.
Tolerance tolerance_of(Precision precision) {
  return precision == Precision::fp32   ? Tolerance{1e-5, 1e-4, 1e-4}
         : precision == Precision::fp16 ? Tolerance{2e-3, 5e-3, 5e-3}
                                        : Tolerance{1e-2, 3e-2, 3e-2};
}

// Only the project's kernel for the tensor cores of sm_80 and later, even if there are faster ones: what a
// device with sm_80 is offered.
std::vector<std::unique_ptr<cuda::ConvolutionVariant>> implicit_gemm_alone(
    const cuda::ConvolutionProblem& problem, cuda::PlanSearch search, const cuda::TimingBudget& has_time) {
  auto variants = cuda::native_variants(problem, search, has_time);
  std::erase_if(variants, [](const auto& variant) {
    return variant->name().find("implicit_gemm") == std::string::npos;
  });
  return variants;
}

class CudaEngine : public testing::TestWithParam<Precision> {};

TEST_P(CudaEngine, AscentMatchesTheReference) {
  const Network network = small_network();
  const Weights weights = test::random_weights(network, 3);
  RunOptions options = options_for({13, 14}, GetParam());
  options.seed = 9;
  options.trace_every = 2;
  const Recipe recipe = short_recipe(6);
  const Collector got = render(network, weights, recipe, options, some_filters());
  ASSERT_EQ(got.results.size(), some_filters().size());
  EXPECT_EQ(got.progress, 6 * 9);
  EXPECT_EQ(got.losses, 3 * 9);
  expect_reference(got, network, weights, recipe, options, tolerance_of(GetParam()));
}

TEST_P(CudaEngine, RescuesWhatHasNoGradient) {
  const test::RescueCases cases;
  // Long steps amplify every mask bit that rounding flips. So in 16 bits only the statuses are checked here;
  // the gradients are checked below.
  const test::RescueTolerance tolerance =
      GetParam() == Precision::fp32 ? test::RescueTolerance{1e-4, 1e-4} : test::RescueTolerance{0.5, 0.75};
  test::expect_rescue(
      [&](const Recipe& recipe, const RunOptions& options, const std::vector<FilterId>& filters) {
        return render(cases.network(), cases.weights(), recipe, options, filters);
      },
      options_for(cases.extent(), GetParam()), tolerance);
}

// For all filters, as one batch and as several.
TEST_P(CudaEngine, GradientsAreWithinTheLimits) {
  const Network network = small_network();
  const Weights weights = test::random_weights(network, 3);
  RunOptions options = options_for({13, 14}, GetParam());
  for (const int batch : {0, 4}) {
    options.batch = batch;
    for (const fidelity::GradientErrors& errors :
         errors_of_gradients(network, weights, options, some_filters())) {
      EXPECT_GT(errors.masks, 0);
      EXPECT_TRUE(fidelity::within(fidelity::summarise({&errors, 1}), fidelity::gradient_limits(GetParam())))
          << *errors.step << " " << *errors.norm << " " << errors.free_step << " " << errors.differ;
    }
  }
}

// For the start images, some of which activate their filters.
TEST_P(CudaEngine, RescuedGradientsAreWithinTheLimits) {
  const test::RescueCases cases;
  const Extent extent = cases.extent();
  const std::size_t size = extent.positions() * 3;
  std::vector<float> images;
  for (const FilterId id : cases.filters()) {
    const std::vector<float> start = reference::to_float(cases.start(id));
    images.insert(images.end(), start.begin(), start.end());
  }
  for (const bool rescue : {true, false}) {
    Recipe recipe = short_recipe(1);
    recipe.stages[0].objective.rescue = rescue;
    const auto found =
        make_native_renderer(cases.network(), cases.weights(), recipe, options_for(extent, GetParam()))
            ->gradients(cases.filters(), images);
    int rescued = 0;
    for (std::size_t i = 0; i < found.size(); ++i) {
      const FilterId id = cases.filters()[i];
      SCOPED_TRACE(cases.network().convolutions[id.layer].name + ":" + std::to_string(id.filter));
      const reference::Gradient expected = reference::loss_and_gradient(
          cases.network(), cases.weights(), identity_mapping(), id.layer, id.filter,
          reference::Map(extent, 3, std::span(images).subspan(i * size, size)), rescue);
      const fidelity::GradientErrors errors = fidelity::gradient_errors(
          found[i], expected, cases.network(), cases.weights(), identity_mapping(), extent);
      EXPECT_TRUE(fidelity::within(fidelity::summarise({&errors, 1}), fidelity::gradient_limits(GetParam())))
          << *errors.step << " " << *errors.norm << " " << errors.free_step << " " << errors.differ;
      EXPECT_EQ(found[i].loss == 0, expected.loss == 0);
      if (expected.loss != 0) continue;
      EXPECT_THAT(found[i].masks->filter, testing::Each(rescue ? 1 : 0));
      rescued += expected.norm() > 0 ? 1 : 0;
    }
    EXPECT_EQ(rescued, rescue ? 3 : 0);
  }
}

TEST(CudaEngineRun, ImplicitGemmAloneMatchesTheReference) {
  const Network network = small_network();
  const Weights weights = test::random_weights(network, 3);
  for (const Precision precision : {Precision::fp16, Precision::bf16}) {
    RunOptions options = options_for({13, 14}, precision);
    options.seed = 9;
    options.trace_every = 2;
    const Recipe recipe = short_recipe(4);
    Collector got;
    const auto renderer = make_native_renderer(network, weights, recipe, options, implicit_gemm_alone);
    renderer->render(some_filters(), got, {});
    ASSERT_EQ(got.results.size(), some_filters().size());
    for (const std::string& plan : renderer->describe().plans) {
      EXPECT_THAT(plan, testing::HasSubstr("implicit_gemm"));
      EXPECT_THAT(plan, testing::Not(testing::HasSubstr("wgmma")));
    }
    expect_reference(got, network, weights, recipe, options, tolerance_of(precision));
    for (const fidelity::GradientErrors& errors :
         errors_of_gradients(network, weights, options, some_filters(), implicit_gemm_alone)) {
      EXPECT_TRUE(fidelity::within(fidelity::summarise({&errors, 1}), fidelity::gradient_limits(precision)));
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Precisions, CudaEngine,
                         testing::Values(Precision::fp32, Precision::fp16, Precision::bf16),
                         [](const auto& precision) { return std::string(to_string(precision.param)); });

TEST(CudaEngineRun, MatchesTheCpuEngine) {
  const Network network = small_network();
  const Weights weights = test::random_weights(network, 3);
  RunOptions options = options_for({17, 12});
  options.trace_every = 1;
  const Recipe recipe = short_recipe(4);
  const Collector got = render(network, weights, recipe, options, some_filters());
  Collector expected;
  make_cpu_renderer(network, weights, recipe, options)->render(some_filters(), expected, {});
  for (const auto& [id, result] : expected.results) {
    const FilterResult& own = got.results.at(id);
    EXPECT_EQ(own.status, result.status);
    EXPECT_NEAR(own.final_loss, result.final_loss, 1e-4 * result.final_loss);
    EXPECT_NEAR(own.gradient_norm, result.gradient_norm, 1e-3 * result.gradient_norm);
    EXPECT_LT(test::l2_relative_error(own.image, result.image), 1e-4);
  }
}

#if !defined(FILTERSCOPE_EMULATED)

// With cuDNN and timed kernels: first with an empty cache, then with the timings of the first run, where
// nothing is launched before the loop.
TEST(CudaEngineRun, WithCudnnMatchesTheCpuEngine) {
  const TemporaryFolder cache;
  ASSERT_EQ(::setenv("XDG_CACHE_HOME", cache.path().c_str(), 1), 0);
  EXPECT_THAT(cuda::plan_cache_description(0),
              testing::AllOf(testing::StartsWith(cache.path().string()), testing::EndsWith(": none yet")));
  const Network network = small_network();
  const Weights weights = test::random_weights(network, 3);
  for (const Precision precision : {Precision::fp32, Precision::tf32, Precision::fp16, Precision::bf16}) {
    RunOptions options = options_for({13, 14}, precision);
    options.trace_every = 2;
    const double tolerance = precision == Precision::fp32 ? 1e-3 : precision == Precision::bf16 ? 3e-2 : 5e-3;
    for (const char* plans : {"cold", "warm", "reproducible"}) {
      SCOPED_TRACE(std::string(to_string(precision)) + ", " + plans);
      options.reproducible = plans == std::string("reproducible");
      const auto renderer = make_cuda_renderer(network, weights, short_recipe(20), options,
                                               cuda::make_backend(0, options.reproducible));
      Collector got;
      renderer->render(some_filters(), got, {});
      RunOptions on_cpu = options;
      on_cpu.precision = Precision::fp32;
      Collector expected;
      make_cpu_renderer(network, weights, short_recipe(20), on_cpu)->render(some_filters(), expected, {});
      ASSERT_EQ(got.results.size(), expected.results.size());
      for (const auto& [id, result] : expected.results) {
        EXPECT_NEAR(got.results.at(id).final_loss, result.final_loss, tolerance * result.final_loss);
      }
    }
  }
  EXPECT_THAT(cuda::plan_cache_description(0),
              testing::ContainsRegex(": [1-9][0-9]* timings of this device"));
}

// Skips all tests if there is no device.
class Device final : public testing::Environment {
  void SetUp() override {
    int count = 0;
    if (cudaGetDeviceCount(&count) == cudaSuccess && count > 0) return;
    cudaGetLastError();
    GTEST_SKIP() << "no CUDA device; the emulated tests run the same bodies";
  }
};
[[maybe_unused]] const auto* const kDevice = testing::AddGlobalTestEnvironment(new Device);

#endif

}  // namespace
}  // namespace filterscope
