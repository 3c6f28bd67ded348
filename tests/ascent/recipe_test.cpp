#include "host/ascent/recipe.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <numeric>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "host/base/error.h"
#include "host/model/weights/weights.h"

namespace filterscope {
namespace {

using ::testing::HasSubstr;

TEST(Recipe, IsTheSeedsUnlessChanged) {
  const Recipe& recipe = find_recipe("seed");
  EXPECT_THAT(recipe.source, HasSubstr("CNN_Filter_Visulization.ipynb"));
  ASSERT_EQ(recipe.stages.size(), 1u);
  const Stage& stage = recipe.first();
  EXPECT_EQ(stage, Stage{});
  EXPECT_EQ(recipe.picture, Picture{});
  EXPECT_EQ(stage.start.kind, Start::Kind::uniform);
  EXPECT_EQ(stage.start.low, 0.f);
  EXPECT_EQ(stage.start.high, 1.f);
  EXPECT_EQ(stage.parameterisation.kind, Parameterisation::Kind::pixels);
  EXPECT_EQ(stage.parameterisation.colour, Parameterisation::Colour::as_is);
  EXPECT_EQ(stage.parameterisation.range, Parameterisation::Range::unbounded);
  EXPECT_EQ(stage.input_mapping, identity_mapping());
  EXPECT_TRUE(stage.transforms.empty() && stage.kept_transforms.empty() && stage.regularisers.empty());
  EXPECT_EQ(stage.objective.kind, Objective::Kind::mean);
  EXPECT_EQ(stage.objective.margin, 0);
  EXPECT_TRUE(stage.objective.rescues());
  EXPECT_EQ(stage.normalisation.kind, GradientNormalisation::Kind::l2);
  EXPECT_EQ(stage.normalisation.epsilon, 1e-12f);
  EXPECT_EQ(stage.normalisation.epsilon_place, GradientNormalisation::EpsilonPlace::least_sum);
  EXPECT_EQ(stage.optimiser.kind, Optimiser::Kind::ascent);
  EXPECT_EQ(stage.optimiser.step, 0.1f);
  EXPECT_EQ(stage.optimiser.weight_decay, 0.f);
  EXPECT_EQ(stage.after_step.decay, 0.f);
  EXPECT_FALSE(stage.after_step.clip.has_value());
  EXPECT_EQ(stage.after_step.blur_every, 0);
  EXPECT_EQ(recipe.picture.kind, Picture::Kind::min_max);
  EXPECT_EQ(recipe.picture.rounding, Picture::Rounding::nearest);
  EXPECT_EQ(recipe.picture_extent(), (Extent{96, 96}));
  EXPECT_EQ(recipe.iterations(), 500);
  EXPECT_EQ(recipe.trace_every(), 10);
}

TEST(Recipe, TracesFiftyPointsAndAtLeastEveryIteration) {
  Recipe recipe = find_recipe("seed");
  for (const auto& [iterations, every] : {std::pair{1, 1}, {49, 1}, {50, 1}, {99, 1}, {100, 2}, {1024, 20}}) {
    recipe.stages.front().iterations = iterations;
    EXPECT_EQ(recipe.trace_every(), every) << iterations << " iterations";
  }
  recipe.stages.front().iterations = 100;
  recipe.trace_points = 10;
  EXPECT_EQ(recipe.trace_every(), 10);
}

struct Published {
  const char* name;
  std::vector<int> sides;
  int iterations;
  int picture;
  float step;
  int canvas;  ///< Of the last stage.
};

TEST(Recipes, HaveTheirPublishedSizesAndSteps) {
  for (const Published& published : std::vector<Published>{
           {"seed", {96}, 500, 96, 0.1f, 96},
           {"keras2016", {128}, 20, 128, 1, 128},
           {"keras2019", {79, 95, 114, 137, 165, 198, 238, 286, 343}, 135, 412, 1, 343},
           {"kerasio", {180}, 30, 130, 10, 180},
           {"tf-keras-vis", {224}, 200, 224, 1, 224},
           {"lucid", {128}, 512, 128, 0.05f, 128},
           {"fg91", {56, 67, 80, 96, 115, 138, 165, 198, 237, 284, 340, 408}, 270, 408, 0.1f, 408}}) {
    SCOPED_TRACE(published.name);
    const Recipe& recipe = find_recipe(published.name);
    std::vector<int> sides;
    for (const Stage& stage : recipe.stages) {
      sides.push_back(stage.extent.height);
      EXPECT_EQ(stage.extent.height, stage.extent.width);
      EXPECT_EQ(stage.optimiser.step, published.step);
    }
    EXPECT_EQ(sides, published.sides);
    EXPECT_EQ(recipe.iterations(), published.iterations);
    EXPECT_EQ(recipe.picture_extent(), (Extent{published.picture, published.picture}));
    EXPECT_EQ(canvas_extent(recipe.last()), (Extent{published.canvas, published.canvas}));
  }
}

TEST(Recipes, OfKeras) {
  const Recipe& first = find_recipe("keras2016");
  const Recipe& second = find_recipe("keras2019");
  for (const Recipe* recipe : {&first, &second}) {
    const Stage& stage = recipe->last();
    EXPECT_EQ(stage.start, (Start{.low = 118, .high = 138}));
    EXPECT_EQ(stage.input_mapping, identity_mapping());
    EXPECT_EQ(stage.normalisation.kind, GradientNormalisation::Kind::rms);
    EXPECT_EQ(stage.normalisation.epsilon_place, GradientNormalisation::EpsilonPlace::added);
    EXPECT_EQ(recipe->picture.kind, Picture::Kind::standardise);
    EXPECT_EQ(recipe->picture.centre, 0.5f);
    EXPECT_EQ(recipe->picture.rounding, Picture::Rounding::truncate);
  }
  EXPECT_EQ(first.first().normalisation.epsilon, 1e-5f);
  EXPECT_EQ(second.first().normalisation.epsilon, 1e-7f);
  EXPECT_EQ(first.picture.deviation, 0.1f);
  EXPECT_EQ(second.picture.deviation, 0.25f);
  const Resampling by_picture{.kind = Resampling::Kind::bicubic, .through_picture = true};
  for (std::size_t i = 1; i < second.stages.size(); ++i) EXPECT_EQ(second.stages[i].resampling, by_picture);
  EXPECT_EQ(second.picture.resampling, by_picture);

  const Recipe& third = find_recipe("kerasio");
  EXPECT_EQ(third.first().start, (Start{.low = -0.125f, .high = 0.125f}));
  EXPECT_EQ(third.first().objective.margin, 2);
  EXPECT_EQ(third.first().normalisation, GradientNormalisation{});
  EXPECT_EQ(third.first().input_mapping.source, (std::array{2, 1, 0}));
  EXPECT_EQ(third.first().input_mapping.scale, (std::array{127.5f, 127.5f, 127.5f}));
  EXPECT_EQ(third.first().input_mapping.offset, (std::array{0.f, 0.f, 0.f}));
  EXPECT_EQ(third.picture.deviation, 0.15f);
  EXPECT_EQ(third.picture.crop, 25);
}

TEST(Recipes, OfLucid) {
  const Recipe& recipe = find_recipe("lucid");
  const Stage& stage = recipe.first();
  EXPECT_EQ(stage.start.kind, Start::Kind::gaussian);
  EXPECT_EQ(stage.start.deviation, 0.01f);
  EXPECT_EQ(stage.parameterisation,
            (Parameterisation{Parameterisation::Kind::fourier, 1, Parameterisation::Colour::decorrelated,
                              Parameterisation::Range::sigmoid}));
  EXPECT_EQ(stage.transforms.value, 0.5f);
  ASSERT_EQ(stage.transforms.list.size(), 6u);
  const std::vector<float>& scales = stage.transforms.list[2].draw.choices;
  EXPECT_THAT(scales,
              testing::ElementsAre(.9f, .92f, .94f, .96f, .98f, 1.f, 1.02f, 1.04f, 1.06f, 1.08f, 1.1f));
  const std::vector<float>& degrees = stage.transforms.list[3].draw.choices;
  EXPECT_EQ(degrees.size(), 26u);
  EXPECT_EQ(std::accumulate(degrees.begin(), degrees.end(), 0.f), 0.f);
  EXPECT_EQ(std::ranges::count(degrees, 0.f), 6);
  EXPECT_EQ(*std::ranges::max_element(degrees), 10.f);
  EXPECT_EQ(stage.normalisation.kind, GradientNormalisation::Kind::none);
  EXPECT_EQ(stage.optimiser, (Optimiser{.kind = Optimiser::Kind::adam, .step = 0.05f}));
  EXPECT_EQ(stage.input_mapping, auto_mapping());
  EXPECT_EQ(recipe.picture.kind, Picture::Kind::clip);
}

TEST(Recipes, OfTfKerasVis) {
  const Stage& stage = find_recipe("tf-keras-vis").first();
  EXPECT_EQ(stage.start, (Start{.high = 255}));
  EXPECT_TRUE(stage.objective.before_relu);
  EXPECT_EQ(stage.optimiser,
            (Optimiser{.kind = Optimiser::Kind::rmsprop, .step = 1, .rho = 0.999f, .epsilon = 1e-7f}));
  const std::vector<Transform>& kept = stage.kept_transforms.list;
  ASSERT_EQ(kept.size(), 2u);
  EXPECT_EQ(kept[0], (Transform{.kind = Transform::Kind::jitter, .pixels = 8, .border = Border::wrap}));
  EXPECT_EQ(kept[1],
            (Transform{
                .kind = Transform::Kind::rotate, .draw = {.low = -1, .high = 1}, .border = Border::reflect}));
  EXPECT_EQ(stage.regularisers, (std::vector<Regulariser>{{Regulariser::Kind::total_variation_l1, 1},
                                                          {Regulariser::Kind::mean_magnitude, 0.3f}}));
  EXPECT_EQ(find_recipe("tf-keras-vis").picture.high, 255);
}

TEST(Recipes, OfFg91) {
  const Recipe& recipe = find_recipe("fg91");
  for (std::size_t i = 0; i < recipe.stages.size(); ++i) {
    const Stage& stage = recipe.stages[i];
    EXPECT_EQ(stage.iterations, i > 6 ? 26 : 20);
    EXPECT_EQ(stage.parameterisation.colour, Parameterisation::Colour::standardised);
    EXPECT_EQ(stage.optimiser, (Optimiser{.kind = Optimiser::Kind::adam, .weight_decay = 1e-6f}));
    EXPECT_EQ(stage.resampling.kind, i > 0 ? Resampling::Kind::bicubic : Resampling::Kind::bilinear);
  }
  EXPECT_EQ(recipe.first().start, (Start{.low = 128.f / 255, .high = 148.f / 255}));
}

TEST(Recipes, TheSeedIsTheDefaultAndNamesAreUnique) {
  ASSERT_FALSE(recipes().empty());
  EXPECT_EQ(recipes().front().name, "seed");
  std::set<std::string> names;
  for (const Recipe& recipe : recipes()) {
    EXPECT_TRUE(names.insert(recipe.name).second) << recipe.name;
    EXPECT_FALSE(recipe.source.empty()) << recipe.name;
    EXPECT_FALSE(recipe.summary.empty()) << recipe.name;
    EXPECT_EQ(&find_recipe(recipe.name), &recipe);
  }
}

TEST(Recipes, AnUnknownNameIsAUsageErrorThatListsKnownOnes) {
  try {
    find_recipe("sead");
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::usage);
    EXPECT_EQ(error.exit_code(), 2);
    EXPECT_THAT(error.what(), HasSubstr("recipe sead: no such recipe, did you mean seed?"));
    for (const Recipe& recipe : recipes()) EXPECT_THAT(error.what(), HasSubstr(recipe.name));
  }
}

std::vector<int> iterations_of(const Recipe& recipe) {
  std::vector<int> all;
  for (const Stage& stage : recipe.stages) all.push_back(stage.iterations);
  return all;
}

TEST(Recipe, SharesIterationsInProportion) {
  Recipe recipe;
  recipe.stages.resize(3);
  recipe.stages[0].iterations = 100;
  recipe.stages[1].iterations = 200;
  recipe.stages[2].iterations = 100;
  for (const auto& [total, expected] : std::vector<std::pair<int, std::vector<int>>>{
           {400, {100, 200, 100}}, {8, {2, 4, 2}}, {4, {1, 2, 1}}, {3, {1, 1, 1}}, {1000, {250, 500, 250}}})
    EXPECT_EQ(iterations_of(with_iterations(recipe, total)), expected) << total;
  for (const std::size_t longest : {0, 1, 2}) {
    for (Stage& stage : recipe.stages) stage.iterations = 1;
    recipe.stages[longest].iterations = 1'000'000;
    for (const int total : {3, 4, 100, kMostIterations}) {
      const Recipe shared = with_iterations(recipe, total);
      EXPECT_EQ(shared.iterations(), total);
      for (const int iterations : iterations_of(shared)) EXPECT_GE(iterations, 1) << total;
    }
  }
}

TEST(Recipe, ChangesSizesInProportion) {
  const Recipe half = with_extent(find_recipe("keras2019"), {172, 343});
  EXPECT_EQ(half.last().extent, (Extent{172, 343}));
  EXPECT_EQ(half.first().extent, (Extent{40, 79}));  // 79 * 172 / 343 = 39.6
  EXPECT_EQ(half.picture_extent(), (Extent{207, 412}));
  EXPECT_EQ(with_extent(find_recipe("kerasio"), {100, 90}).picture_extent(), (Extent{50, 40}));
}

TEST(Recipe, TakesTheWeightsInput) {
  Weights weights;
  weights.name = "mine.h5";
  weights.natural_input = keras_mapping();
  EXPECT_EQ(with_input_of(find_recipe("seed"), weights), find_recipe("seed"));
  for (const Stage& stage : with_input_of(find_recipe("fg91"), weights).stages)
    EXPECT_EQ(stage.input_mapping, keras_mapping());
  weights.natural_input.reset();
  EXPECT_EQ(with_input_of(find_recipe("seed"), weights), find_recipe("seed"));
  try {
    with_input_of(find_recipe("lucid"), weights);
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::input);
    EXPECT_THAT(error.what(), HasSubstr("mine.h5"));
    EXPECT_THAT(error.what(), HasSubstr("--set stages.0.input_mapping=keras"));
  }
}

float mapped(const InputMapping& mapping, const std::array<float, 3>& rgb, std::size_t channel) {
  return mapping.scale[channel] * rgb[static_cast<std::size_t>(mapping.source[channel])] +
         mapping.offset[channel];
}

TEST(InputMapping, IdentityIsTheImageItself) {
  const InputMapping mapping = identity_mapping();
  EXPECT_EQ(mapping, (InputMapping{.name = mapping.name}));
  const std::array<float, 3> rgb{0.25f, 0.5f, 0.75f};
  for (std::size_t c = 0; c < 3; ++c) EXPECT_EQ(mapped(mapping, rgb, c), rgb[c]);
}

TEST(InputMapping, KerasReadsBgrMinusTheImagenetMean) {
  const InputMapping mapping = keras_mapping();
  EXPECT_EQ(mapping.source, (std::array<int, 3>{2, 1, 0}));
  const std::array<float, 3> mean_rgb{123.68f / 255, 116.779f / 255, 103.939f / 255};
  for (std::size_t c = 0; c < 3; ++c) EXPECT_NEAR(mapped(mapping, mean_rgb, c), 0, 2e-5);
  EXPECT_NEAR(mapped(mapping, {0, 0, 1}, 0), 255 - 103.939, 1e-4);
  EXPECT_NEAR(mapped(mapping, {0, 0, 1}, 2), -123.68, 1e-4);
}

TEST(InputMapping, TorchvisionReadsNormalisedRgb) {
  const InputMapping mapping = torchvision_mapping();
  EXPECT_EQ(mapping.source, (std::array<int, 3>{0, 1, 2}));
  for (std::size_t c = 0; c < 3; ++c) {
    EXPECT_NEAR(mapped(mapping, {0.485f, 0.456f, 0.406f}, c), 0, 1e-6);
    EXPECT_NEAR(mapped(mapping, {0.485f + 0.229f, 0.456f + 0.224f, 0.406f + 0.225f}, c), 1, 1e-6);
  }
}

}  // namespace
}  // namespace filterscope
