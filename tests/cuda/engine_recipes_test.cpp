// Whole ascents of recipes that use every operation, on the device, against the CPU engine.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cctype>
#include <cmath>
#include <string>
#include <vector>

#include "engine_fixtures.h"
#include "host/ascent/operations/picture.h"
#include "tests/support/recipe_cases.h"

namespace filterscope {
namespace {

class CudaRecipes : public testing::TestWithParam<int> {
 protected:
  static std::unique_ptr<Renderer> renderer(const Network& network, const Weights& weights,
                                            const Recipe& recipe, const RenderOptions& options) {
    return std::make_unique<Renderer>(network, weights, recipe, options,
                                      make_cuda_engine(network, weights, recipe, options,
                                                       {.sources = {cuda::native_variants},
                                                        .rule = cuda::PlanRule::fixed,
                                                        .timings = {},
                                                        .libraries = {}}));
  }
  Collector render(const RenderOptions& options, const std::vector<FilterId>& filters) const {
    Collector collector;
    renderer(network_, weights_, recipe_, options)->render(filters, collector, {});
    return collector;
  }
  Collector render_on_cpu(RenderOptions options, const std::vector<FilterId>& filters) const {
    options.precision = Precision::fp32;
    Collector collector;
    Renderer(network_, weights_, recipe_, options, make_cpu_engine(network_, weights_, recipe_, options))
        .render(filters, collector, {});
    return collector;
  }
  static RenderOptions options(Precision precision) {
    RenderOptions options;
    options.precision = precision;
    options.keep_images = true;
    options.seed = 3;
    options.trace_every = 1;
    return options;
  }
  // Losses may be near zero where the start hardly activates the filter.
  static double largest_loss(const FilterResult& result) {
    double largest = std::abs(result.final_loss);
    for (const TracePoint& point : result.trace) largest = std::max(largest, std::abs(double{point.loss}));
    return largest;
  }

  const Recipe recipe_ = test::recipe_cases()[static_cast<std::size_t>(GetParam())].second;
  const Network network_ = test::make_network({{64}, {64, true}, {64}});
  const Weights weights_ = test::random_weights(network_, 3);
  const std::vector<FilterId> filters_{{0, 1}, {1, 4}, {2, 0}, {2, 63}};
};

TEST_P(CudaRecipes, AscendAsTheCpuEngineDoes) {
  for (const Precision precision : {Precision::fp32, Precision::fp16}) {
    SCOPED_TRACE(std::string(to_string(precision)));
    // The first steps of Adam and RMSprop are the gradient's signs, so that fp16's errors of small gradients
    // count in full.
    const double tolerance = precision == Precision::fp32 ? 1e-3 : 0.15;
    const Collector got = render(options(precision), filters_);
    const Collector expected = render_on_cpu(options(precision), filters_);
    ASSERT_EQ(got.results.size(), filters_.size());
    EXPECT_EQ(got.progress, expected.progress);
    for (const auto& [id, result] : got.results) {
      SCOPED_TRACE(network_.convolutions[id.layer].name + ":" + std::to_string(id.filter));
      const FilterResult& wanted = expected.results.at(id);
      EXPECT_EQ(result.status, wanted.status) << to_string(result.status);
      EXPECT_EQ(result.iterations, wanted.iterations);
      EXPECT_EQ(result.rescued_iterations, wanted.rescued_iterations);
      ASSERT_EQ(result.trace.size(), wanted.trace.size());
      for (std::size_t i = 0; i < wanted.trace.size(); ++i)
        EXPECT_NEAR(result.trace[i].loss, wanted.trace[i].loss, tolerance * largest_loss(wanted)) << i;
      EXPECT_NEAR(result.first_loss, wanted.first_loss, tolerance * largest_loss(wanted));
      EXPECT_NEAR(result.final_loss, wanted.final_loss, tolerance * largest_loss(wanted));
      if (precision != Precision::fp32) continue;
      EXPECT_LT(test::l2_relative_error(result.image, wanted.image), 3e-3);
      // The device's own image as the host would encode it, within a grey level.
      const auto picture = encode_picture(recipe_.picture, result.image, recipe_.last().extent);
      ASSERT_EQ(result.picture.size(), picture.size());
      for (std::size_t i = 0; i < picture.size(); ++i) ASSERT_NEAR(result.picture[i], picture[i], 1) << i;
    }
  }
}

TEST_P(CudaRecipes, DoNotDependOnTheBatch) {
  const Collector all = render(options(Precision::fp16), filters_);
  for (const FilterId id : {FilterId{1, 4}, FilterId{2, 63}}) {
    const FilterResult alone = render(options(Precision::fp16), {id}).results.at(id);
    EXPECT_EQ(alone.image, all.results.at(id).image);
    EXPECT_EQ(alone.picture, all.results.at(id).picture);
    EXPECT_EQ(alone.final_loss, all.results.at(id).final_loss);
  }
}

TEST_P(CudaRecipes, StartFromGivenImagesAndHaveFramesOfOneSize) {
  RenderOptions given = options(Precision::fp32);
  const Extent extent = recipe_.first().extent;
  given.initial_images = {test::random_values(static_cast<std::size_t>(extent.positions()) * 3, 4, 0.3f), 1,
                          extent};
  given.frame_every = 2;
  const Collector got = render(given, filters_);
  const Collector expected = render_on_cpu(given, filters_);
  for (const auto& [id, result] : got.results) {
    const FilterResult& wanted = expected.results.at(id);
    EXPECT_NEAR(result.first_loss, wanted.first_loss, 1e-3 * largest_loss(wanted));
    EXPECT_LT(test::l2_relative_error(result.image, wanted.image), 3e-3);
    ASSERT_EQ(result.frames.size(), wanted.frames.size());
    EXPECT_EQ(result.frames.back(), result.picture);
    for (std::size_t frame = 0; frame < wanted.frames.size(); ++frame) {
      ASSERT_EQ(result.frames[frame].size(), wanted.frames[frame].size());
      int most = 0;
      for (std::size_t i = 0; i < wanted.frames[frame].size(); ++i)
        most = std::max(most, std::abs(result.frames[frame][i] - wanted.frames[frame][i]));
      EXPECT_LE(most, 2) << "frame " << frame;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Cases, CudaRecipes, testing::Range(0, static_cast<int>(test::recipe_cases().size())),
                         [](const auto& case_info) {
                           std::string name =
                               test::recipe_cases()[static_cast<std::size_t>(case_info.param)].first;
                           std::erase_if(
                               name, [](char c) { return std::isalnum(static_cast<unsigned char>(c)) == 0; });
                           return name;
                         });

// Weights and inputs so large that fp16 overflows unless the maps are kept small.
TEST(CudaRange, LargeInputsStayFinite) {
  const Network network = test::make_network({{64}, {64, true}, {64}});
  Weights weights = test::random_weights(network, 3);
  for (auto& layer : weights.layers)
    for (float& value : layer->kernel) value *= 40;
  Recipe recipe = short_recipe(3);
  Stage& stage = recipe.stages[0];
  stage.extent = {9, 8};
  stage.start.low = 118;
  stage.start.high = 138;
  stage.normalisation = {.kind = GradientNormalisation::Kind::rms,
                         .epsilon = 1e-5f,
                         .epsilon_place = GradientNormalisation::EpsilonPlace::added};
  stage.optimiser.step = 1;
  RenderOptions options;
  options.precision = Precision::fp16;
  options.keep_images = true;
  const std::vector<FilterId> filters{{0, 3}, {1, 4}, {2, 0}, {2, 63}};
  Collector got;
  Renderer(network, weights, recipe, options,
           make_cuda_engine(network, weights, recipe, options,
                            {.sources = {cuda::native_variants},
                             .rule = cuda::PlanRule::fixed,
                             .timings = {},
                             .libraries = {}}))
      .render(filters, got, {});
  options.precision = Precision::fp32;
  Collector expected;
  Renderer(network, weights, recipe, options, make_cpu_engine(network, weights, recipe, options))
      .render(filters, expected, {});
  double largest = 0;
  for (const auto& [id, result] : expected.results) {
    const FilterResult& own = got.results.at(id);
    EXPECT_EQ(own.status, result.status);
    EXPECT_NEAR(own.final_loss, result.final_loss, 1e-2 * std::abs(result.final_loss));
    largest = std::max(largest, double{result.final_loss});
  }
  EXPECT_GT(largest, 65504.);  // Or the test shows nothing.
}

}  // namespace
}  // namespace filterscope
