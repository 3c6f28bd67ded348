// Whole ascents of recipes that use every operation, against the reference in double precision.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>

#include "host/ascent/operations/picture.h"
#include "host/devices/devices.h"
#include "host/run/renderer.h"
#include "tests/support/random_network.h"
#include "tests/support/recipe_cases.h"
#include "tests/support/reference.h"
#include "tests/support/runs.h"

namespace filterscope {
namespace {

class Recipes : public testing::TestWithParam<int> {
 protected:
  const Recipe& recipe() const { return recipe_; }
  Collector render(const RenderOptions& options, const std::vector<FilterId>& filters) const {
    Collector collector;
    make_renderer(network_, weights_, recipe(), options)->render(filters, collector, {});
    return collector;
  }
  static RenderOptions options() {
    RenderOptions options;
    options.device = "cpu";
    options.keep_images = true;
    options.seed = 3;
    options.trace_every = 1;
    options.reproducible = true;
    return options;
  }

  const Recipe recipe_ = test::recipe_cases()[static_cast<std::size_t>(GetParam())].second;
  const Network network_ = test::small_network();
  const Weights weights_ = test::random_weights(network_, 3);
  const std::vector<FilterId> filters_{{0, 1}, {1, 4}, {2, 0}, {2, 5}, {3, 1}};
};

TEST_P(Recipes, AscendAsTheReferenceDoes) {
  const Collector got = render(options(), filters_);
  ASSERT_EQ(got.results.size(), filters_.size());
  EXPECT_EQ(got.progress, std::int64_t{recipe().iterations()} * 5);
  for (const auto& [id, result] : got.results) {
    SCOPED_TRACE(network_.convolutions[id.layer].name + ":" + std::to_string(id.filter));
    const reference::Ascent expected =
        reference::ascend(network_, weights_, recipe(), 3, id.layer, id.filter);
    const bool dead = expected.final_loss == 0 && !recipe().last().objective.before_relu;
    EXPECT_EQ(result.status == FilterStatus::dead, dead) << to_string(result.status);
    EXPECT_EQ(result.iterations, recipe().iterations());
    ASSERT_EQ(result.trace.size(), expected.losses.size());
    double largest = std::abs(expected.final_loss);
    for (const double loss : expected.losses) largest = std::max(largest, std::abs(loss));
    for (std::size_t i = 0; i < expected.losses.size(); ++i)
      EXPECT_NEAR(result.trace[i].loss, expected.losses[i], 1e-3 * largest) << i;
    EXPECT_NEAR(result.final_loss, expected.final_loss, 1e-3 * largest);
    EXPECT_NEAR(result.gradient_norm, expected.gradient_norm, 1e-2 * expected.gradient_norm);
    EXPECT_LT(test::l2_relative_error(result.image, expected.image.values), 3e-3);
    EXPECT_EQ(result.picture, encode_picture(recipe().picture, result.image, recipe().last().extent));
    EXPECT_EQ(result.picture.size(), static_cast<std::size_t>(recipe().picture_extent().positions()) * 3);
  }
}

TEST_P(Recipes, DoNotDependOnTheBatch) {
  const Collector all = render(options(), filters_);
  RenderOptions one = options();
  one.batch = 1;
  for (const auto& [id, result] : render(one, {{1, 4}, {2, 5}}).results) {
    EXPECT_EQ(result.image, all.results.at(id).image);
    EXPECT_EQ(result.picture, all.results.at(id).picture);
    EXPECT_EQ(result.final_loss, all.results.at(id).final_loss);
  }
}

TEST_P(Recipes, StartFromGivenImagesOfTheFirstStage) {
  RenderOptions given = options();
  const Extent extent = recipe().first().extent;
  given.initial_images = {test::random_values(static_cast<std::size_t>(extent.positions()) * 3, 4, 0.3f), 1,
                          extent};
  const Collector got = render(given, {{1, 4}, {2, 5}});
  const Collector again = render(given, {{1, 4}, {2, 5}});
  const Collector drawn = render(options(), {{1, 4}, {2, 5}});
  for (const auto& [id, result] : got.results) {
    EXPECT_EQ(result.image, again.results.at(id).image);
    EXPECT_NE(result.image, drawn.results.at(id).image);
  }
}

TEST_P(Recipes, HaveFramesOfOneSize) {
  RenderOptions animated = options();
  animated.frame_every = 2;
  const Collector got = render(animated, filters_);
  for (const auto& [id, result] : got.results) {
    ASSERT_EQ(std::ssize(result.frames), frame_count(recipe().iterations(), 2));
    for (const auto& frame : result.frames) EXPECT_EQ(frame.size(), result.picture.size());
    EXPECT_EQ(result.frames.back(), result.picture);
  }
}

INSTANTIATE_TEST_SUITE_P(Cpu, Recipes, testing::Range(0, static_cast<int>(test::recipe_cases().size())),
                         [](const auto& case_info) {
                           std::string name =
                               test::recipe_cases()[static_cast<std::size_t>(case_info.param)].first;
                           std::erase_if(
                               name, [](char c) { return std::isalnum(static_cast<unsigned char>(c)) == 0; });
                           return name;
                         });

}  // namespace
}  // namespace filterscope
