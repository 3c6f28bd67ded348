#include "host/ascent/recipe.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <set>
#include <string>
#include <utility>

#include "host/base/error.h"

namespace filterscope {
namespace {

using ::testing::HasSubstr;

TEST(SeedRecipe, HasTheNotebooksValues) {
  const Recipe& recipe = find_recipe("seed");
  EXPECT_EQ(recipe.name, "seed");
  EXPECT_THAT(recipe.source, HasSubstr("CNN_Filter_Visulization.ipynb"));
  EXPECT_EQ(recipe.initial_image.kind, InitialImage::Kind::uniform);
  EXPECT_EQ(recipe.initial_image.low, 0.f);
  EXPECT_EQ(recipe.initial_image.high, 1.f);
  EXPECT_EQ(recipe.input_mapping, identity_mapping());
  EXPECT_EQ(recipe.objective, Objective::mean_activation);
  EXPECT_EQ(recipe.gradient_normalisation.kind, GradientNormalisation::Kind::l2_per_image);
  EXPECT_EQ(recipe.gradient_normalisation.epsilon, 1e-12f);
  EXPECT_EQ(recipe.optimiser.kind, Optimiser::Kind::gradient_ascent);
  EXPECT_EQ(recipe.optimiser.step, 0.1f);
  EXPECT_EQ(recipe.picture_mapping, PictureMapping::min_max);
  EXPECT_EQ(recipe.size, 96);
  EXPECT_EQ(recipe.iterations, 500);
  EXPECT_EQ(recipe.trace_every(), 10);
}

TEST(Recipe, TracesFiftyPointsAndAtLeastEveryIteration) {
  Recipe recipe = find_recipe("seed");
  for (const auto& [iterations, every] : {std::pair{1, 1}, {49, 1}, {50, 1}, {99, 1}, {100, 2}, {1024, 20}}) {
    recipe.iterations = iterations;
    EXPECT_EQ(recipe.trace_every(), every) << iterations << " iterations";
  }
  recipe.iterations = 100;
  recipe.trace_points = 10;
  EXPECT_EQ(recipe.trace_every(), 10);
}

TEST(Recipes, TheSeedIsTheDefaultAndNamesAreUnique) {
  ASSERT_FALSE(recipes().empty());
  EXPECT_EQ(recipes().front().name, "seed");
  std::set<std::string> names;
  for (const Recipe& recipe : recipes()) {
    EXPECT_TRUE(names.insert(recipe.name).second) << recipe.name;
    EXPECT_FALSE(recipe.source.empty()) << recipe.name;
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
    EXPECT_THAT(error.what(), HasSubstr("--recipe sead"));
    for (const Recipe& recipe : recipes()) EXPECT_THAT(error.what(), HasSubstr(recipe.name));
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

TEST(RecipeNames, AreThoseOfTheManifest) {
  EXPECT_EQ(to_string(InitialImage::Kind::uniform), "uniform");
  EXPECT_EQ(to_string(Objective::mean_activation), "mean_activation");
  EXPECT_EQ(to_string(GradientNormalisation::Kind::l2_per_image), "l2_per_image");
  EXPECT_EQ(to_string(Optimiser::Kind::gradient_ascent), "gradient_ascent");
  EXPECT_EQ(to_string(PictureMapping::min_max), "min_max");
}

}  // namespace
}  // namespace filterscope
