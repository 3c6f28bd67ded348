#include "host/store/settings.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <string>

#include "host/ascent/recipe_json.h"
#include "manifest_example.h"
#include "version.h"

namespace filterscope {
namespace {

using testing::HasSubstr;

TEST(Settings, ThatDiffer) {
  const auto difference = [](const std::function<void(Manifest&)>& change) -> std::string {
    const Manifest first = example();
    Manifest second = example();
    change(second);
    std::string text;
    for (const SettingDifference& one : differing_settings(first, second))
      text += one.name + ": " + one.first + ", " + one.second + "; ";
    return text;
  };
  EXPECT_EQ(difference([](Manifest& m) { m.version = "0.0.1"; }), "");
  EXPECT_EQ(difference([](Manifest& m) {
              m.version = "9.0.0";
              m.results = kResults + 1;
            }),
            std::string("results: those of version ") + kVersion + ", those of version 9.0.0; ");
  EXPECT_EQ(difference([](Manifest& m) { m.weights.sha256 = "0123456789abcdef"; }),
            "--weights: vgg16.h5 (SHA-256 00ff...), vgg16.h5 (SHA-256 0123456789ab...); ");
  EXPECT_EQ(difference([](Manifest& m) {
              m.weights = {.name = "synthetic:1", .path = "", .sha256 = "", .natural_input = {}};
            }),
            "--weights: vgg16.h5 (SHA-256 00ff...), synthetic:1; ");
  EXPECT_EQ(difference([](Manifest& m) { m.weights.conversions = {"kernels rotated"}; }),
            "how --weights are read: as they are, kernels rotated; ");
  EXPECT_EQ(
      difference([](Manifest& m) { m.weights.notes = {"without the layers that its images pass through"}; }),
      "");
  EXPECT_EQ(difference([](Manifest& m) { m.recipe.stages[0].iterations = 7; }), "--iterations: 200, 7; ");
  EXPECT_EQ(difference([](Manifest& m) { m.recipe.stages[0].optimiser.step = 0.25f; }),
            "--step: 0.1, 0.25; ");
  EXPECT_EQ(difference([](Manifest& m) { m.recipe.stages[0].objective.rescue = false; }),
            "--rescue: on, off; ");
  EXPECT_EQ(difference([](Manifest& m) {
              m.recipe.stages[0].extent = {32, 33};
            }),
            "--size: 80 x 96, 33 x 32; ");
  EXPECT_EQ(difference([](Manifest& m) { m.seed = 1; }), "--seed: 18446744073709551615, 1; ");
  EXPECT_EQ(difference([](Manifest& m) {
              m.init = InitRecord{"a.npy", "123", ""};
            }),
            "--init: none, a.npy (SHA-256 123...); ");
  EXPECT_THAT(difference([](Manifest& m) {
                m.init = InitRecord{"a.npy", "123", "block1_conv1:3"};
              }),
              HasSubstr("with their own start images: none, block1_conv1:3; "));
  EXPECT_EQ(difference([](Manifest& m) { m.trace_every = 1; }), "--trace-every: 4, 1; ");
  EXPECT_EQ(difference([](Manifest& m) { m.engines[0].device = "cuda:1"; }), "kind of --device: cpu, cuda; ");
  EXPECT_EQ(difference([](Manifest& m) { m.engines[0].precision = Precision::tf32; }),
            "--precision: fp32, tf32; ");
  EXPECT_EQ(difference([](Manifest& m) { m.reproducible = true; }), "--reproducible: no, yes; ");
  EXPECT_EQ(difference([](Manifest& m) { m.recipe.stages[0].start.high = 2; }),
            "the recipe's stages.0.start.high: 1, 2; ");
  EXPECT_EQ(difference([](Manifest& m) { m.recipe.stages[0].input_mapping = keras_mapping(); }),
            "the recipe's stages.0.input_mapping: " + on_one_line(to_json(identity_mapping())) + ", " +
                on_one_line(to_json(keras_mapping())) + "; ");
  EXPECT_EQ(difference([](Manifest& m) { m.recipe.picture.kind = Picture::Kind::clip; }),
            "the recipe's picture: min_max, clip; ");
  // A name says more than the values that differ; what only describes does not count.
  EXPECT_EQ(difference([](Manifest& m) { m.recipe = find_recipe("lucid"); }), "--recipe: seed, lucid; ");
  EXPECT_EQ(difference([](Manifest& m) { m.recipe.summary = m.recipe.source = "other"; }), "");
  EXPECT_EQ(difference([](Manifest& m) {
              m.recipe.stages[0].iterations = 7;
              m.seed = 3;
            }),
            "--iterations: 200, 7; --seed: 18446744073709551615, 3; ");
  EXPECT_EQ(difference([](Manifest& m) {
              m.weights.path = "/elsewhere/another_name.h5";
              m.weights.name = "another_name.h5";
              m.engines[0].threads = 5;
              m.engines[0].device_name = "Some other CPU";
              m.filters.clear();
              m.raw.clear();
              m.command_lines.clear();
              m.wall_seconds = 1;
            }),
            "");
}

TEST(Settings, OfStages) {
  Manifest first = example();
  first.recipe = find_recipe("keras2019");
  Manifest second = first;
  second.recipe.stages[3].iterations = 7;
  second.recipe.stages[8].extent = {343, 340};
  const auto found = differing_settings(first, second);
  ASSERT_EQ(found.size(), 2u);
  EXPECT_EQ(found[0].name + ": " + found[0].first + ", " + found[0].second,
            "the recipe's stages.3.iterations: 15, 7");
  EXPECT_EQ(found[1].name + ": " + found[1].first + ", " + found[1].second,
            "the recipe's stages.8.size: 343, [343, 340]");
  second = first;
  second.recipe.stages.pop_back();
  EXPECT_EQ(differing_settings(first, second).at(0).name, "the recipe's stages");
}

}  // namespace
}  // namespace filterscope
