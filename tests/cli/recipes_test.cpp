// `filterscope recipes`, and the options of `filterscope render` that choose and change a recipe.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "host/ascent/recipe_json.h"
#include "host/model/weights/weights.h"
#include "tests/support/program.h"

namespace filterscope {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

class RecipesCli : public Cli {
 protected:
  void write(const std::string& name, const std::string& text) { std::ofstream(folder_ / name) << text; }

  /// The recipe that `filterscope recipes` prints.
  Recipe printed(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), "recipes");
    const Outcome outcome = run(arguments);
    EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
    return parse_recipe(Json::parse(outcome.out), "");
  }

  /// The recipe in the manifest of a run with these options.
  Recipe rendered(std::vector<std::string> options) {
    std::vector<std::string> arguments{"render", "block1_conv1:0", "--weights", "synthetic", "--device",
                                       "cpu",    "--force"};
    arguments.insert(arguments.end(), options.begin(), options.end());
    const Outcome outcome = run(arguments);
    EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
    return parse_recipe(Json::parse(read_text(folder_ / "filterscope-out/manifest.json")).at("recipe"), "");
  }

  /// Of synthetic weights.
  static Recipe with_input(const Recipe& recipe) {
    Weights weights;
    weights.natural_input = identity_mapping();
    return with_input_of(recipe, weights);
  }
};

TEST_F(RecipesCli, ListsThemAndPrintsOneAsJson) {
  const std::vector<std::string> lines = lines_of(run({"recipes"}).out);
  ASSERT_EQ(lines.size(), recipes().size());
  for (std::size_t i = 0; i < lines.size(); ++i)
    EXPECT_THAT(lines[i], AllOf(HasSubstr(recipes()[i].name), HasSubstr(recipes()[i].summary)));
  for (const Recipe& recipe : recipes()) {
    const Outcome outcome = run({"recipes", recipe.name});
    EXPECT_EQ(outcome.err, "");
    EXPECT_EQ(parse_recipe(Json::parse(outcome.out), ""), recipe);
    write("again.json", outcome.out);
    EXPECT_EQ(run({"recipes", "again.json"}).out, outcome.out);
    for (const std::string& line : lines_of(outcome.out)) EXPECT_LE(line.size(), 200u) << line;
  }
  EXPECT_THAT(run({"recipes", "--help"}).out, AllOf(HasSubstr("FILE.json"), HasSubstr("--set KEY=VALUE")));
}

TEST_F(RecipesCli, SetsValues) {
  Recipe expected = find_recipe("lucid");
  expected.name = "short";
  expected.stages[0].iterations = 12;
  expected.stages[0].transforms.list[1].pixels = 3;
  expected.stages[0].after_step.decay = 0.5f;
  EXPECT_EQ(printed({"lucid", "--set", "stages.0.iterations=12", "--set=stages.0.transforms.list.1.pixels=3",
                     "--set", "name=short", "--set", "stages.0.after_step={\"decay\": 0.5}"}),
            expected);
  EXPECT_THAT(
      error_of({"recipes", "lucid", "--set", "stages.0.optimiser.stp=1"}, kUsage),
      HasSubstr("recipe lucid with --set: stages.0.optimiser: unknown key \"stp\", did you mean step?"));
  EXPECT_THAT(error_of({"recipes", "lucid", "--set", "stages.0.size=20"}, kUsage),
              HasSubstr("recipe lucid: stages.0.size: expected at least 32 in height and width"));
  EXPECT_THAT(error_of({"recipes", "lucid", "--set", "size"}, kUsage),
              AllOf(HasSubstr("--set: expected KEY=VALUE"), HasSubstr("found \"size\"")));
  EXPECT_THAT(error_of({"recipes", "lucid", "--set", "stages.1x.size=96"}, kUsage),
              HasSubstr("--set stages.1x.size=96: stages: expected a number from 0 to 1, found \"1x\""));
}

TEST_F(RecipesCli, WrongFilesAndNamesAreErrors) {
  EXPECT_THAT(error_of({"recipes", "lucit"}, kUsage),
              HasSubstr("recipe lucit: no such recipe, did you mean lucid?"));
  EXPECT_THAT(error_of({"recipes", "seed", "lucid"}, kUsage), HasSubstr("found 2"));
  EXPECT_THAT(error_of({"recipes", "--set", "name=x"}, kUsage), HasSubstr("expected one recipe, found 0"));
  EXPECT_THAT(error_of({"render", "--recipe", "none.json"}, kInput),
              HasSubstr("recipe none.json: expected a JSON file, found nothing of that name"));
  write("broken.json", "{\"name\": ");
  EXPECT_THAT(error_of({"render", "--recipe", "broken.json"}, kUsage),
              HasSubstr("recipe broken.json: it is not valid JSON"));
  write("negative.json", R"({"stages": [{"optimiser": {"step": -1}}]})");
  EXPECT_THAT(
      error_of({"render", "--recipe", "./negative.json"}, kUsage),
      HasSubstr("recipe ./negative.json: stages.0.optimiser.step: expected a number above 0, found -1"));
}

TEST_F(RecipesCli, RendersWithARecipeOfAFile) {
  write("mine.json", R"({"picture": {"kind": "clip", "crop": 2},
                         "stages": [{"size": [32, 40], "iterations": 2}, {"size": 48, "iterations": 1}]})");
  const Recipe recipe = rendered({"--recipe", "mine.json", "--raw"});
  EXPECT_EQ(recipe.name, "mine");
  EXPECT_EQ(recipe, printed({"mine.json"}));
  EXPECT_EQ(manifest()["size"], (nlohmann::json{{"height", 44}, {"width", 44}}));
  EXPECT_EQ(manifest()["iterations"], 3);
  // Pictures are cropped, unscaled images are not.
  EXPECT_THAT(read_text(folder_ / "filterscope-out/raw/block1_conv1.npy"), HasSubstr("(1, 48, 48, 3)"));
  EXPECT_THAT(run({"render", "block1_conv1:0", "--weights", "synthetic", "--device", "cpu", "--recipe",
                   "mine.json", "--raw"})
                  .out,
              HasSubstr("Nothing to do"));
  // A run's manifest has its recipe.
  std::filesystem::copy_file(folder_ / "filterscope-out/manifest.json", folder_ / "first.json");
  EXPECT_EQ(rendered({"--recipe", "first.json"}), recipe);

  write("mine.json", R"({"picture": {"kind": "clip", "crop": 3},
                         "stages": [{"size": [32, 40], "iterations": 2}, {"size": 48, "iterations": 1}]})");
  const Outcome refused =
      run({"render", "block1_conv1:0", "--weights", "synthetic", "--device", "cpu", "--recipe", "mine.json"});
  EXPECT_EQ(refused.exit_code, kUsage);
  EXPECT_THAT(refused.err, AllOf(HasSubstr("(the recipe's picture.crop: 2 then, 3 now)")));
}

TEST_F(RecipesCli, OptionsChangeWholeRecipesAndSetSingleValues) {
  const Recipe recipe = rendered({"--recipe", "keras2019", "--iterations", "12", "--size", "140", "--step",
                                  "2", "--rescue", "off", "--set", "stages.2.iterations=1"});
  Recipe expected = with_extent(with_iterations(find_recipe("keras2019"), 12), {140, 140});
  for (Stage& stage : expected.stages) {
    stage.optimiser.step = 2;
    stage.objective.rescue = false;
  }
  expected.stages[2].iterations = 1;
  EXPECT_EQ(recipe, expected);
  EXPECT_EQ(recipe.first().extent, (Extent{32, 32}));
  EXPECT_EQ(recipe.picture_extent(), (Extent{168, 168}));
  EXPECT_THAT(
      error_of({"render", "--recipe", "keras2019", "--iterations", "8"}, kUsage),
      HasSubstr("--iterations: expected at least 9, one for each stage of the recipe keras2019, found 8"));
  EXPECT_THAT(error_of({"render", "--recipe", "keras2019", "--size", "100"}, kUsage),
              HasSubstr("recipe keras2019: stages.0.size: expected at least 32"));
}

TEST_F(RecipesCli, TakesTheWeightsInput) {
  EXPECT_EQ(rendered({"--recipe", "lucid", "--iterations", "1", "--size", "48"}),
            with_input(with_extent(with_iterations(find_recipe("lucid"), 1), {48, 48})));
}

TEST_F(RecipesCli, StartImagesAreOfTheFirstStage) {
  write_npy("start.npy", {40, 36, 3}, 0.5f);
  EXPECT_EQ(rendered({"--init", "start.npy", "--iterations", "1"}).last().extent, (Extent{40, 36}));
  write("two.json", R"({"stages": [{"size": [40, 36], "iterations": 1}, {"size": 48}]})");
  EXPECT_EQ(rendered({"--init", "start.npy", "--recipe", "two.json"}).last().extent, (Extent{48, 48}));
  write("two.json", R"({"stages": [{"size": 40, "iterations": 1}, {"size": 48}]})");
  EXPECT_THAT(error_of({"render", "block1_conv1:0", "--init", "start.npy", "--recipe", "two.json"}, kInput),
              HasSubstr("expected images of 40 x 40, the size of the recipe's first stage, found 36 x 40"));
  EXPECT_THAT(
      error_of({"render", "block1_conv1:0", "--init", "start.npy", "--set", "stages.0.size=40"}, kInput),
      AllOf(HasSubstr("expected images of 40 x 40, as --size says"), Not(HasSubstr("stage"))));
}

}  // namespace
}  // namespace filterscope
