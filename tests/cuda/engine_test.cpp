// The CUDA engine's whole run against the double-precision reference and the CPU engine, and what it promises
// about batches, memory, and the loop: on the emulated device, and where CUDA is, built a second time for a
// real one.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <map>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <vector>

#include "host/cuda/own_convolution.h"
#include "host/engine_cpu.h"
#include "host/engine_cuda.h"
#include "host/error.h"
#include "tests/support/gradient_fidelity.h"
#include "tests/support/random_network.h"
#include "tests/support/reference.h"
#if defined(FILTERSCOPE_EMULATED)
#include "kernels/common/global.h"
#include "kernels/common/launch.h"
#else
#include <cuda_runtime_api.h>

#include <cstdlib>

#include "host/cuda/backend.h"
#include "tests/support/temporary_folder.h"
#endif

namespace filterscope {
namespace {

class Collector final : public RenderObserver {
 public:
  void on_finished(FilterResult result) override { results.emplace(result.id, std::move(result)); }
  void on_progress(std::int64_t steps) override {
    progress += steps;
    if (stop_after > 0 && progress >= stop_after) stop.request_stop();
  }
  void on_loss(FilterId, TracePoint) override { ++losses; }
  void on_notice(const std::string& text) override { notices.push_back(text); }

  std::map<FilterId, FilterResult> results;
  std::int64_t progress = 0;
  std::int64_t stop_after = 0;
  int losses = 0;
  std::vector<std::string> notices;
  std::stop_source stop;
};

// Pools after the second and fourth layer; channels as few as the kernels take.
Network small_network() {
  return test::make_network({{64}, {64, true}, {64}, {128, true}, {64}, {64}});
}

std::vector<FilterId> some_filters() {
  return {{0, 1}, {0, 50}, {1, 4}, {2, 0}, {2, 63}, {3, 100}, {4, 10}, {4, 11}, {5, 3}};
}

Recipe short_recipe(int iterations) {
  Recipe recipe = find_recipe("seed");
  recipe.iterations = iterations;
  return recipe;
}

RenderOptions options_for(Extent extent, Precision precision = Precision::fp32) {
  RenderOptions options;
  options.extent = extent;
  options.precision = precision;
  options.keep_images = true;
  options.reproducible = false;
  return options;
}

// With the project's own kernels alone; they are taken as offered, since timing says nothing in the
// emulation.
std::unique_ptr<Engine> make_own_engine(const Network& network, const Weights& weights, const Recipe& recipe,
                                        const RenderOptions& options,
                                        const cuda::ConvolutionSource& source = cuda::own_variants) {
  return make_cuda_engine(
      network, weights, recipe, options,
      {.sources = {source}, .rule = cuda::PlanRule::fixed, .timings = {}, .libraries = {}});
}

Collector render(const Network& network, const Weights& weights, const Recipe& recipe,
                 const RenderOptions& options, const std::vector<FilterId>& filters,
                 const cuda::ConvolutionSource& source = cuda::own_variants) {
  Collector collector;
  make_own_engine(network, weights, recipe, options, source)->render(filters, collector, {});
  return collector;
}

// Relative errors of losses and of what the image moved by, after a few iterations.
struct Tolerance {
  double first_loss;
  double final_loss;
  double image;
};

void expect_reference(const Collector& got, const Network& network, const Weights& weights,
                      const Recipe& recipe, const RenderOptions& options, const Tolerance& tolerance) {
  for (const auto& [id, result] : got.results) {
    SCOPED_TRACE(network.convolutions[id.layer].name + ":" + std::to_string(id.filter));
    const std::vector<float> start =
        reference::noise_image(recipe.initial_image, options.seed, id.layer, id.filter, options.extent);
    const reference::Ascent expected =
        reference::ascend(network, weights, recipe, id.layer, id.filter,
                          reference::Map(options.extent, 3, start), recipe.iterations);
    ASSERT_GT(expected.gradient_norm, 0);
    EXPECT_EQ(result.status, FilterStatus::ok);
    EXPECT_EQ(result.iterations, recipe.iterations);
    EXPECT_NEAR(result.first_loss, expected.losses.front(), tolerance.first_loss * expected.losses.front());
    EXPECT_NEAR(result.final_loss, expected.final_loss, tolerance.final_loss * expected.final_loss);
    ASSERT_EQ(result.trace.size(), std::size_t(recipe.iterations / options.trace_every));
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

class CudaEngine : public testing::TestWithParam<Precision> {};

TEST_P(CudaEngine, AscentIsTheReferences) {
  const Network network = small_network();
  const Weights weights = test::random_weights(network, 3);
  RenderOptions options = options_for({13, 14}, GetParam());
  options.seed = 9;
  options.trace_every = 2;
  const Recipe recipe = short_recipe(6);
  const Collector got = render(network, weights, recipe, options, some_filters());
  ASSERT_EQ(got.results.size(), some_filters().size());
  EXPECT_EQ(got.progress, 6 * 9);
  EXPECT_EQ(got.losses, 3 * 9);
  // fp32: as the CPU engine's test. The others round every map and gradient to 8 or 11 bits.
  const Tolerance tolerance = GetParam() == Precision::fp32   ? Tolerance{1e-5, 1e-4, 1e-4}
                              : GetParam() == Precision::fp16 ? Tolerance{2e-3, 5e-3, 5e-3}
                                                              : Tolerance{1e-2, 3e-2, 3e-2};
  expect_reference(got, network, weights, recipe, options, tolerance);
}

// Of all filters, as one batch and as several.
std::vector<fidelity::GradientErrors> errors_of_gradients(
    const Network& network, const Weights& weights, const RenderOptions& options,
    const std::vector<FilterId>& filters, const cuda::ConvolutionSource& source = cuda::own_variants) {
  const std::size_t size = options.extent.positions() * 3;
  const std::vector<float> images = test::random_values(filters.size() * size, 8);
  const auto found =
      make_own_engine(network, weights, short_recipe(1), options, source)->gradients(filters, images);
  EXPECT_EQ(found.size(), filters.size());
  std::vector<fidelity::GradientErrors> errors;
  for (std::size_t i = 0; i < found.size(); ++i) {
    EXPECT_EQ(found[i].id, filters[i]);
    const reference::Gradient expected = reference::loss_and_gradient(
        network, weights, identity_mapping(), filters[i].layer, filters[i].filter,
        reference::Map(options.extent, 3, std::span(images).subspan(i * size, size)));
    errors.push_back(
        fidelity::gradient_errors(found[i], expected, network, weights, identity_mapping(), options.extent));
  }
  return errors;
}

TEST_P(CudaEngine, GradientsAreWithinTheLimits) {
  const Network network = small_network();
  const Weights weights = test::random_weights(network, 3);
  RenderOptions options = options_for({13, 14}, GetParam());
  for (const int batch : {0, 4}) {
    options.batch = batch;
    for (const fidelity::GradientErrors& errors :
         errors_of_gradients(network, weights, options, some_filters())) {
      EXPECT_GT(errors.gates, 0);
      EXPECT_TRUE(fidelity::within(fidelity::summarise({&errors, 1}), fidelity::gradient_limits(GetParam())))
          << *errors.step << " " << *errors.norm << " " << errors.free_step << " " << errors.differ;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Precisions, CudaEngine,
                         testing::Values(Precision::fp32, Precision::fp16, Precision::bf16),
                         [](const auto& precision) { return std::string(to_string(precision.param)); });

TEST(CudaEngineRun, MatchesTheCpuEngine) {
  const Network network = small_network();
  const Weights weights = test::random_weights(network, 3);
  RenderOptions options = options_for({17, 12});
  options.trace_every = 1;
  const Recipe recipe = short_recipe(4);
  const Collector got = render(network, weights, recipe, options, some_filters());
  Collector expected;
  make_cpu_engine(network, weights, recipe, options)->render(some_filters(), expected, {});
  for (const auto& [id, result] : expected.results) {
    const FilterResult& own = got.results.at(id);
    EXPECT_EQ(own.status, result.status);
    EXPECT_NEAR(own.final_loss, result.final_loss, 1e-4 * result.final_loss);
    EXPECT_NEAR(own.gradient_norm, result.gradient_norm, 1e-3 * result.gradient_norm);
    EXPECT_LT(test::l2_relative_error(own.image, result.image), 1e-4);
  }
}

#if defined(FILTERSCOPE_EMULATED)

// A layer's ReLU mask as the activation itself, or as bytes, which no kernel of the project writes.
void write_bytes(kernels::Global<const float> values, kernels::Global<std::uint8_t> bytes) {
  const std::int64_t i = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  bytes.store(i, values.load(i) > 0.f ? 1 : 0);
}
class ForwardWithBytes final : public cuda::ConvolutionVariant {
 public:
  ForwardWithBytes(std::unique_ptr<cuda::ConvolutionVariant> inner)
      : inner_(std::move(inner)), problem_(inner_->problem()) {
    problem_.gate = cuda::Gate::bytes;
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
                    static_cast<std::uint8_t*>(arguments.gate_out));
  }

 private:
  std::unique_ptr<cuda::ConvolutionVariant> inner_;
  cuda::ConvolutionProblem problem_;
};

// The project's kernels with masks of one form alone. The first layer, which has 64 channels, has its own.
cuda::ConvolutionSource only(cuda::Gate gate) {
  return [gate](const cuda::ConvolutionProblem& problem, cuda::PlanSearch, const cuda::MayTime&) {
    std::vector<std::unique_ptr<cuda::ConvolutionVariant>> variants;
    const bool above_first_layer =
        problem.direction == cuda::Direction::input_gradient && problem.in_channels == 64;
    if (problem.gate != (above_first_layer ? cuda::Gate::none : gate)) return variants;
    if (above_first_layer) return cuda::own_variants(problem);
    cuda::ConvolutionProblem plain = problem;
    plain.gate = cuda::Gate::none;
    auto own = std::move(cuda::own_variants(plain).front());
    if (problem.gate == cuda::Gate::bytes && problem.direction == cuda::Direction::forward) {
      variants.push_back(std::make_unique<ForwardWithBytes>(std::move(own)));
    } else {
      variants.push_back(cuda::with_gate(std::move(own), problem.gate));
    }
    return variants;
  };
}

TEST(CudaEngineRun, EveryFormOfMaskGivesTheSame) {
  const Network network = test::make_network({{64}, {32}, {32}, {32}});
  const Weights weights = test::random_weights(network, 3);
  const RenderOptions options = options_for({7, 6});
  const std::vector<FilterId> filters{{0, 1}, {1, 4}, {2, 0}, {3, 31}};
  const Collector bits = render(network, weights, short_recipe(3), options, filters);
  const std::vector<float> images = test::random_values(filters.size() * 7 * 6 * 3, 8);
  const auto gradients =
      make_own_engine(network, weights, short_recipe(3), options)->gradients(filters, images);
  for (const cuda::Gate gate : {cuda::Gate::activation, cuda::Gate::bytes}) {
    const auto engine = make_own_engine(network, weights, short_recipe(3), options, only(gate));
    Collector got;
    engine->render(filters, got, {});
    EXPECT_THAT(engine->describe().plans.at(0), testing::HasSubstr("mask " + std::string(to_string(gate))));
    for (const auto& [id, result] : bits.results) EXPECT_EQ(got.results.at(id).image, result.image);
    const auto others = engine->gradients(filters, images);
    for (std::size_t i = 0; i < filters.size(); ++i) {
      EXPECT_EQ(others[i].gradient, gradients[i].gradient);
      EXPECT_EQ(others[i].gates->layers, gradients[i].gates->layers);
    }
  }
}

TEST(CudaEngineRun, WithoutCudnnUsesTheProjectsKernelsAndSaysSo) {
  const Network network = test::make_network({{64}, {64}});
  const Weights weights = test::random_weights(network, 3);
  const auto make = [&](const RenderOptions& options) {
    return make_cuda_engine(network, weights, short_recipe(1), options,
                            {.sources = {cuda::own_variants},
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

// Where a kernel includes the pool, the map before it is never there; it includes the gate below it, too.
TEST(CudaEngineRun, FusedPoolsGiveTheSame) {
  const Network network = test::make_network({{64}, {64, true}, {64}, {64, true}, {64}});
  const Weights weights = test::random_weights(network, 3);
  const RenderOptions options = options_for({8, 12}, Precision::fp16);
  const std::vector<FilterId> filters{{1, 4}, {2, 0}, {3, 60}, {4, 10}};
  // Both sum in the same order.
  const auto by = [](bool fused) -> cuda::ConvolutionSource {
    return [fused](const cuda::ConvolutionProblem& problem, cuda::PlanSearch, const cuda::MayTime&) {
      cuda::ConvolutionProblem asked = problem;
      asked.pooled = fused && problem.pooled;
      std::vector<std::unique_ptr<cuda::ConvolutionVariant>> variants;
      for (auto& variant : cuda::own_variants(asked)) {
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
    return make_own_engine(network, weights, short_recipe(2), options, by(fuse))->gradients(filters, images);
  };
  const auto fused_gradients = gradients(true);
  const auto apart_gradients = gradients(false);
  for (std::size_t i = 0; i < filters.size(); ++i) {
    EXPECT_EQ(fused_gradients[i].gradient, apart_gradients[i].gradient);
    EXPECT_EQ(fused_gradients[i].gates->layers, apart_gradients[i].gates->layers);
  }
}

enum class Mistake { none, weights_not_rotated, gate_forgotten, gates_left_open };

void open_all(kernels::Global<std::uint32_t> words) {
  words.store(std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x, 0xffffffffu);
}
// A kernel of the project's with a mistake.
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
    if (mistake_ != Mistake::gates_left_open) return;
    const unsigned words = problem_.height * problem_.width * problem_.out_channels / 32;
    kernels::launch("open_all", open_all, {dim3(words), dim3(1)}, stream,
                    static_cast<std::uint32_t*>(arguments.gate_out));  // Of the first image.
  }

 private:
  Mistake mistake_;
  std::unique_ptr<cuda::ConvolutionVariant> inner_;
  cuda::ConvolutionProblem problem_;
};

// Only where there are 128 channels.
cuda::ConvolutionSource with_mistake(Mistake mistake) {
  return [mistake](const cuda::ConvolutionProblem& problem, cuda::PlanSearch, const cuda::MayTime&) {
    const bool forward = problem.direction == cuda::Direction::forward;
    if (mistake == Mistake::none || problem.in_channels != 128 || problem.out_channels != 128 ||
        forward != (mistake == Mistake::gates_left_open) ||
        (mistake != Mistake::weights_not_rotated && problem.gate != cuda::Gate::bits)) {
      return cuda::own_variants(problem);
    }
    cuda::ConvolutionProblem inner = problem;
    if (mistake == Mistake::gate_forgotten) inner.gate = cuda::Gate::none;
    auto variants = cuda::own_variants(inner);
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
    for (const Mistake mistake : {Mistake::weights_not_rotated, Mistake::gate_forgotten}) {
      const fidelity::GradientSummary summary = summary_with(mistake, precision);
      EXPECT_FALSE(fidelity::within(summary, limits));
      EXPECT_GT(*summary.worst_step, 5 * limits.step);
      EXPECT_LT(*summary.gates, limits.gates);
    }
    // The gradient goes rightly through the wrong gates.
    const fidelity::GradientSummary summary = summary_with(Mistake::gates_left_open, precision);
    EXPECT_FALSE(fidelity::within(summary, limits));
    EXPECT_LT(*summary.worst_step, limits.step);
    EXPECT_GT(*summary.gates, 5 * limits.gates);
  }
}

#endif

TEST(CudaEngineRun, AFilterDoesNotDependOnItsPlaceInTheBatch) {
  const Network network = small_network();
  const Weights weights = test::random_weights(network, 3);
  const RenderOptions options = options_for({12, 9}, Precision::fp16);
  const std::vector<std::vector<FilterId>> selections{{{3, 20}, {3, 30}, {3, 40}, {5, 1}, {5, 2}},
                                                      {{3, 1}, {3, 2}, {3, 20}, {5, 60}, {5, 61}},
                                                      {{3, 19}, {3, 20}, {3, 21}, {5, 0}, {5, 63}}};
  const auto engine = make_own_engine(network, weights, short_recipe(3), options);
  std::vector<float> first;
  for (const std::vector<FilterId>& filters : selections) {
    Collector collector;
    engine->render(filters, collector, {});
    const FilterResult& result = collector.results.at({3, 20});
    if (first.empty()) first = result.image;
    EXPECT_EQ(result.image, first);
  }
  EXPECT_EQ(engine->describe().plans.size(), 1u);
}

TEST(CudaEngineRun, ReproducibleBytesWhateverIsRenderedBeside) {
  const Network network = small_network();
  const Weights weights = test::random_weights(network, 3);
  RenderOptions options = options_for({9, 9}, Precision::fp16);
  options.reproducible = true;
  options.batch = 3;
  const FilterId id{4, 11};
  const Collector alone = render(network, weights, short_recipe(3), options, {id});
  const Collector among = render(network, weights, short_recipe(3), options,
                                 {{2, 3}, {4, 0}, {4, 5}, {4, 7}, id, {4, 12}, {5, 1}});
  EXPECT_EQ(among.results.size(), 7u);
  EXPECT_EQ(alone.results.at(id).image, among.results.at(id).image);
  EXPECT_EQ(alone.results.at(id).picture, among.results.at(id).picture);
  EXPECT_EQ(alone.results.at(id).final_loss, among.results.at(id).final_loss);
}

TEST(CudaEngineRun, BatchesOfOneGeometryGiveWhatOneBatchGives) {
  const Network network = small_network();
  const Weights weights = test::random_weights(network, 3);
  RenderOptions options = options_for({9, 9});
  const Collector whole = render(network, weights, short_recipe(3), options, some_filters());
  for (const int batch : {1, 4, 6}) {
    options.batch = batch;
    const Collector cut = render(network, weights, short_recipe(3), options, some_filters());
    ASSERT_EQ(cut.results.size(), some_filters().size()) << batch;
    EXPECT_EQ(cut.progress, 3 * 9);
    for (const auto& [id, result] : whole.results) {
      EXPECT_LT(test::l2_relative_error(cut.results.at(id).image, result.image), 1e-5) << batch;
    }
  }
}

// A frame is the picture that as many iterations would have given.
TEST(CudaEngineRun, FramesAreThePicturesOfShorterRuns) {
  const Network network = test::make_network({{64}, {64, true}, {64}});
  const Weights weights = test::random_weights(network, 3);
  RenderOptions options = options_for({6, 7});
  const std::vector<FilterId> filters{{1, 0}, {1, 9}, {2, 5}};
  for (const int every : {1, 3, 7}) {
    options.frame_every = every;
    const Collector got = render(network, weights, short_recipe(7), options, filters);
    ASSERT_EQ(got.results.size(), filters.size());
    for (const auto& [id, result] : got.results) {
      EXPECT_EQ(result.frame_every, every);
      ASSERT_EQ(std::ssize(result.frames), frame_count(7, every)) << every;
      EXPECT_EQ(result.frames.back(), result.picture);
      const auto start = reference::min_max_picture(std::span<const float>(
          reference::noise_image({}, options.seed, id.layer, id.filter, options.extent)));
      for (std::size_t i = 0; i < start.size(); ++i) ASSERT_NEAR(result.frames.front()[i], start[i], 1);
    }
    for (int steps = every; steps < 7; steps += every) {
      RenderOptions still = options;
      still.frame_every = 0;
      const Collector shorter = render(network, weights, short_recipe(steps), still, filters);
      for (const auto& [id, result] : shorter.results) {
        EXPECT_TRUE(result.frames.empty());
        EXPECT_EQ(got.results.at(id).frames[steps / every], result.picture) << every << " " << steps;
      }
    }
  }
}

TEST(CudaEngineRun, FramesOfOneBatchAfterAnother) {
  const Network network = small_network();
  const Weights weights = test::random_weights(network, 3);
  RenderOptions options = options_for({9, 9});
  options.frame_every = 2;
  const std::vector<FilterId> filters = some_filters();
  const Collector whole = render(network, weights, short_recipe(5), options, filters);
  options.batch = 4;
  const Collector cut = render(network, weights, short_recipe(5), options, filters);
  ASSERT_EQ(cut.results.size(), filters.size());
  for (const auto& [id, result] : whole.results) {
    ASSERT_EQ(result.frames.size(), 4u);
    ASSERT_EQ(cut.results.at(id).frames.size(), result.frames.size());
    for (std::size_t frame = 0; frame < result.frames.size(); ++frame)
      for (std::size_t i = 0; i < result.picture.size(); ++i)
        ASSERT_NEAR(result.frames[frame][i], cut.results.at(id).frames[frame][i], 1);
  }
}

TEST(CudaEngineRun, DeadFilterKeepsItsImageAndDoesNotDisturbOthers) {
  const Network network = test::make_network({{64}, {64, true}, {64}});
  Weights weights = test::random_weights(network, 4);
  for (std::size_t i = 0; i < 9 * 64; ++i) weights.layers[2]->kernel[i * 64 + 5] = -1.f;
  weights.layers[2]->bias[5] = -1.f;
  RenderOptions options = options_for({8, 8});
  options.trace_every = 2;
  options.frame_every = 2;
  const Collector with = render(network, weights, short_recipe(6), options, {{2, 4}, {2, 5}});
  const FilterResult& dead = with.results.at({2, 5});
  EXPECT_EQ(dead.status, FilterStatus::dead);
  EXPECT_EQ(dead.iterations, 0);
  EXPECT_EQ(dead.gradient_norm, 0.f);
  EXPECT_EQ(dead.trace.size(), 3u);
  EXPECT_EQ(dead.frames, (std::vector<std::vector<std::uint8_t>>{dead.picture}));
  EXPECT_EQ(dead.image, reference::noise_image({}, 0, 2, 5, {8, 8}));
  EXPECT_EQ(with.results.at({2, 4}).status, FilterStatus::ok);
  EXPECT_EQ(with.results.at({2, 4}).iterations, 6);
}

TEST(CudaEngineRun, NonFiniteFilterStopsAlone) {
  const Network network = test::make_network({{64}, {64}});
  Weights weights = test::random_weights(network, 4);
  for (std::size_t i = 0; i < 9 * 64; ++i) weights.layers[1]->kernel[i * 64 + 5] = 3e38f;
  RenderOptions options = options_for({7, 8});
  options.trace_every = 1;
  const Collector got = render(network, weights, short_recipe(4), options, {{1, 4}, {1, 5}, {1, 7}});
  const FilterResult& stopped = got.results.at({1, 5});
  EXPECT_EQ(stopped.status, FilterStatus::nonfinite);
  EXPECT_EQ(stopped.iterations, 0);
  EXPECT_TRUE(stopped.trace.empty());
  for (const float value : stopped.image) ASSERT_TRUE(std::isfinite(value));
  EXPECT_EQ(got.results.at({1, 4}).iterations, 4);
  EXPECT_EQ(got.results.at({1, 7}).status, FilterStatus::ok);
}

TEST(CudaEngineRun, StartsFromGivenImages) {
  const Network network = small_network();
  const Weights weights = test::random_weights(network, 3);
  RenderOptions options = options_for({9, 12});
  options.initial_images = {test::random_values(3 * 9 * 12 * 3, 5), 3, {9, 12}};
  for (const int batch : {0, 1}) {
    options.batch = batch;
    const std::vector<FilterId> filters{{0, 7}, {1, 2}, {3, 1}};
    const Collector got = render(network, weights, short_recipe(2), options, filters);
    for (std::size_t i = 0; i < filters.size(); ++i) {
      const std::span<const float> start(options.initial_images.values.data() + i * 9 * 12 * 3, 9 * 12 * 3);
      const auto expected = reference::ascend(network, weights, short_recipe(2), filters[i].layer,
                                              filters[i].filter, reference::Map({9, 12}, 3, start), 2);
      EXPECT_NEAR(got.results.at(filters[i]).first_loss, expected.losses[0], 1e-5 * expected.losses[0]);
      EXPECT_LT(test::l2_relative_error(got.results.at(filters[i]).image, expected.image.values), 1e-4);
    }
  }
}

#if defined(FILTERSCOPE_EMULATED)

// Several batches, with everything that comes back from them.
TEST(CudaEngineRun, GivesTheSameHoweverLateTheDeviceIs) {
  const Network network = test::make_network({{64}, {64}});
  const Weights weights = test::random_weights(network, 3);
  RenderOptions options = options_for({4, 5});
  options.batch = 2;
  options.frame_every = 2;
  options.trace_every = 1;
  // More iterations than the host runs ahead.
  std::vector<FilterId> filters;
  for (int filter = 0; filter < 7; ++filter) filters.push_back({1, filter});
  for (const bool given : {false, true}) {
    if (given) options.initial_images = {test::random_values(7 * 4 * 5 * 3, 5), 7, {4, 5}};
    const Collector expected = render(network, weights, short_recipe(25), options, filters);
    ASSERT_EQ(expected.results.size(), filters.size());
    emulation::set_lateness(emulation::Lateness::late);
    const Collector got = render(network, weights, short_recipe(25), options, filters);
    emulation::set_lateness(emulation::Lateness::none);
    ASSERT_EQ(got.results.size(), filters.size());
    EXPECT_EQ(got.progress, expected.progress);
    for (const auto& [id, result] : expected.results) {
      const FilterResult& late = got.results.at(id);
      EXPECT_EQ(late.picture, result.picture);
      EXPECT_EQ(late.image, result.image);
      EXPECT_EQ(late.frames, result.frames);
      ASSERT_EQ(late.trace.size(), result.trace.size());
      for (std::size_t i = 0; i < late.trace.size(); ++i) EXPECT_EQ(late.trace[i].loss, result.trace[i].loss);
      EXPECT_EQ(late.status, result.status);
      EXPECT_EQ(late.iterations, result.iterations);
      EXPECT_EQ(late.first_loss, result.first_loss);
      EXPECT_EQ(late.final_loss, result.final_loss);
      EXPECT_EQ(late.gradient_norm, result.gradient_norm);
    }
  }
}

TEST(CudaEngineRun, TheLoopNeitherAllocatesNorCopiesNorWaits) {
  const Network network = test::make_network({{64}, {64, true}, {64}});
  const Weights weights = test::random_weights(network, 3);
  RenderOptions options = options_for({6, 6});
  const auto count = [&](int iterations) {
    Recipe recipe = short_recipe(iterations);
    recipe.trace_points = iterations;
    const emulation::Counters before = emulation::counters();
    render(network, weights, recipe, options, {{1, 0}, {2, 0}});
    const emulation::Counters after = emulation::counters();
    return std::vector<long>{after.allocations - before.allocations, after.copies - before.copies,
                             after.synchronisations - before.synchronisations};
  };
  EXPECT_EQ(count(3), count(9));
  options.frame_every = 1;
  EXPECT_EQ(count(3), count(9));
}

TEST(CudaEngineRun, GoesOnWithSmallerBatchesWhenMemoryRunsOut) {
  const Network network = test::make_network({{64}, {64, true}, {64}});
  const Weights weights = test::random_weights(network, 3);
  RenderOptions options = options_for({10, 10});
  options.batch = 8;
  std::vector<FilterId> filters;
  for (int filter = 0; filter < 8; ++filter) filters.push_back({2, filter});
  const Collector expected = render(network, weights, short_recipe(2), options, filters);
  EXPECT_TRUE(expected.notices.empty());
  // Room for the weights and about three images.
  emulation::set_memory(emulation::counters().allocated_bytes + 700'000);
  const Collector got = render(network, weights, short_recipe(2), options, filters);
  emulation::set_memory(std::size_t{4} << 30);
  ASSERT_EQ(got.results.size(), filters.size());
  EXPECT_THAT(got.notices, testing::Contains(testing::HasSubstr("Out of device memory")));
  for (const auto& [id, result] : expected.results) {
    EXPECT_LT(test::l2_relative_error(got.results.at(id).image, result.image), 1e-5);
  }
  // The automatic batch fits without trying.
  options.batch = 0;
  emulation::set_memory(emulation::counters().allocated_bytes + 2'000'000);
  const Collector automatic = render(network, weights, short_recipe(2), options, filters);
  EXPECT_TRUE(automatic.notices.empty());
  EXPECT_EQ(automatic.results.size(), filters.size());
  emulation::set_memory(emulation::counters().allocated_bytes + 1000);
  EXPECT_THAT([&] { render(network, weights, short_recipe(2), options, filters); },
              testing::ThrowsMessage<Error>(testing::HasSubstr("device memory")));
  emulation::set_memory(std::size_t{4} << 30);
}

#endif

TEST(CudaEngineRun, StopsBetweenIterationsAndKeepsWhatIsFinished) {
  const Network network = test::make_network({{64}, {64}});
  const Weights weights = test::random_weights(network, 3);
  RenderOptions options = options_for({5, 5});
  options.batch = 2;
  Collector collector;
#if defined(FILTERSCOPE_EMULATED)
  constexpr int kIterations = 6;
#else
  constexpr int kIterations = 400;  // More than are enqueued ahead.
#endif
  collector.stop_after = 2 * kIterations + 2 * kIterations / 2;
  make_own_engine(network, weights, short_recipe(kIterations), options)
      ->render(std::vector<FilterId>{{1, 0}, {1, 1}, {1, 2}, {1, 3}, {1, 4}, {1, 5}}, collector,
               collector.stop.get_token());
  EXPECT_EQ(collector.results.size(), 2u);
}

// An observer that takes results when the test says so.
class SlowObserver : public RenderObserver {
 public:
  void on_finished(FilterResult result) override {
    if (fails_at == std::ssize(finished)) throw std::runtime_error("no room on the disk");
    finished.push_back({result.id, progress, asked});
  }
  bool has_room(std::size_t bytes) override {
    result_bytes = bytes;
    ++asked;
    return room_every > 0 && asked % room_every == 0;
  }
  void on_progress(std::int64_t steps) override {
    progress += steps;
    if (stop_after > 0 && progress >= stop_after) stop.request_stop();
  }
  void on_loss(FilterId, TracePoint) override {}

  struct Finished {
    FilterId id;
    std::int64_t progress;  // At that time.
    int asked;
  };
  std::vector<FilterId> ids() const {
    std::vector<FilterId> all;
    for (const Finished& one : finished) all.push_back(one.id);
    std::ranges::sort(all);
    return all;
  }

  int room_every = 0;  // There is room once in so many questions; 0: never.
  std::ptrdiff_t fails_at = -1;
  std::int64_t stop_after = 0;
  std::stop_source stop;
  std::vector<Finished> finished;
  std::size_t result_bytes = 0;
  std::int64_t progress = 0;
  int asked = 0;
};

class CudaEngineResults : public testing::Test {
 protected:
  // Three batches of two, and more iterations than the host runs ahead.
  static constexpr int kIterations = 25;
  static constexpr int kAhead = 8;
  CudaEngineResults() { options_.batch = 2; }
  void render(SlowObserver& observer) const {
    make_own_engine(network_, weights_, short_recipe(kIterations), options_)
        ->render(filters_, observer, observer.stop.get_token());
  }
  // `test`, on the emulated device also when that is as late as may be.
  template <class Test>
  static void however_late(Test test) {
    test();
#if defined(FILTERSCOPE_EMULATED)
    SCOPED_TRACE("late");
    emulation::set_lateness(emulation::Lateness::late);
    test();
    emulation::set_lateness(emulation::Lateness::none);
#endif
  }

  const Network network_ = test::make_network({{64}, {64}});
  const Weights weights_ = test::random_weights(network_, 3);
  RenderOptions options_ = options_for({4, 5});
  const std::vector<FilterId> filters_{{1, 0}, {1, 1}, {1, 2}, {1, 3}, {1, 4}, {1, 5}};
};

TEST_F(CudaEngineResults, WaitForAnObserverWithoutRoomUntilAllIsEnqueued) {
  however_late([&] {
    SlowObserver observer;
    render(observer);
    EXPECT_EQ(observer.ids(), filters_);
    EXPECT_EQ(observer.progress, 6 * kIterations);
    // The results of a batch came when the device had at most its last iterations of the next one left.
    for (std::size_t i = 0; i < observer.finished.size(); ++i) {
      const int batches = std::min(static_cast<int>(i) / 2 + 2, 3);
      EXPECT_GE(observer.finished[i].progress, 2 * (batches * kIterations - kAhead - 1)) << i;
    }
  });
}

TEST_F(CudaEngineResults, ComeWhenThereIsRoom) {
  however_late([&] {
    SlowObserver observer;
    observer.room_every = 3;
    render(observer);
    EXPECT_EQ(observer.ids(), filters_);
    for (std::size_t i = 0; i < 4; ++i) {
      EXPECT_LT(observer.finished[i].progress, 2 * (kIterations * (static_cast<int>(i) / 2 + 2) - 1)) << i;
      EXPECT_EQ(observer.finished[i].asked % 3, 0) << i;
    }
  });
}

TEST_F(CudaEngineResults, OfAFinishedBatchAreDeliveredWhenStopped) {
  however_late([&] {
    SlowObserver observer;
    observer.stop_after = 2 * (kIterations + 3);
    render(observer);
    EXPECT_EQ(observer.ids(), (std::vector<FilterId>{{1, 0}, {1, 1}}));
  });
}

TEST_F(CudaEngineResults, ThatTheObserverCannotTakeEndTheRun) {
  for (const int room_every : {0, 1, 2}) {
    however_late([&] {
      SlowObserver observer;
      observer.room_every = room_every;
      observer.fails_at = 1;
      EXPECT_THROW(render(observer), std::runtime_error);
      EXPECT_EQ(observer.ids().size(), 1u);
    });
  }
}

#if defined(FILTERSCOPE_EMULATED)

// Frames make results so large that a slice holds one.
TEST_F(CudaEngineResults, ComeInSlices) {
  options_ = options_for({48, 48});
  options_.batch = 4;
  options_.keep_images = false;
  options_.frame_every = 1;
  SlowObserver observer;
  observer.room_every = 1;
  const std::vector<FilterId> filters{{0, 0}, {0, 1}, {0, 2}, {0, 3}, {0, 4}, {0, 5}, {0, 6}, {0, 7}};
  make_own_engine(network_, weights_, short_recipe(80), options_)->render(filters, observer, {});
  EXPECT_EQ(observer.ids(), filters);
  EXPECT_GT(observer.result_bytes, std::size_t{1} << 19);
  // The first comes at the end of its batch, and none is enqueued between it and the second.
  for (int i = 2; i < 4; ++i) EXPECT_EQ(observer.finished[i].progress, observer.finished[i - 1].progress + 4);
  EXPECT_EQ(observer.finished[3].asked, 4);
}

#endif

TEST(CudaEngineRun, ProfiledIterationsGiveTheSame) {
  const Network network = test::make_network({{64}, {64}});
  const Weights weights = test::random_weights(network, 3);
  RenderOptions options = options_for({5, 5});
  const Collector plain = render(network, weights, short_recipe(5), options, {{1, 0}});
  options.profile_first = 2;
  options.profile_count = 2;
  const Collector profiled = render(network, weights, short_recipe(5), options, {{1, 0}});
  EXPECT_EQ(plain.results.at({1, 0}).image, profiled.results.at({1, 0}).image);
}

#if !defined(FILTERSCOPE_EMULATED)

// With cuDNN, kernels as timed: first with an empty cache, then with what that has left behind, where nothing
// is launched before the loop.
TEST(CudaEngineRun, WithCudnnMatchesTheCpuEngine) {
  const TemporaryFolder cache;
  ASSERT_EQ(::setenv("XDG_CACHE_HOME", cache.path().c_str(), 1), 0);
  const Network network = small_network();
  const Weights weights = test::random_weights(network, 3);
  for (const Precision precision : {Precision::fp32, Precision::tf32, Precision::fp16, Precision::bf16}) {
    RenderOptions options = options_for({13, 14}, precision);
    options.trace_every = 2;
    const double tolerance = precision == Precision::fp32 ? 1e-3 : precision == Precision::bf16 ? 3e-2 : 5e-3;
    for (const char* plans : {"cold", "warm", "reproducible"}) {
      SCOPED_TRACE(std::string(to_string(precision)) + ", " + plans);
      options.reproducible = plans == std::string("reproducible");
      const auto engine = make_cuda_engine(network, weights, short_recipe(20), options,
                                           cuda::make_backend(0, options.reproducible));
      Collector got;
      engine->render(some_filters(), got, {});
      RenderOptions on_cpu = options;
      on_cpu.precision = Precision::fp32;
      Collector expected;
      make_cpu_engine(network, weights, short_recipe(20), on_cpu)->render(some_filters(), expected, {});
      ASSERT_EQ(got.results.size(), expected.results.size());
      for (const auto& [id, result] : expected.results) {
        EXPECT_NEAR(got.results.at(id).final_loss, result.final_loss, tolerance * result.final_loss);
      }
    }
  }
}

// Skips all tests where no device is.
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
