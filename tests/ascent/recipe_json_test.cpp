#include "host/ascent/recipe_json.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <functional>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "host/base/error.h"

namespace filterscope {
namespace {

using testing::HasSubstr;

constexpr int kSmallest = 32;

Recipe parsed(const std::string& text) {
  return parse_recipe(Json::parse(text), "recipe x");
}

std::string problem_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::usage) << error.what();
    return error.what();
  }
  return "none";
}

std::string problem(const std::string& text) {
  return problem_of([&] { require_valid(parsed(text), kSmallest, "recipe x"); });
}

/// Of a recipe of one stage with this in it.
std::string stage_problem(const std::string& members) {
  return problem(R"({"name": "x", "stages": [{)" + members + "}]}");
}

TEST(RecipeJson, EveryPresetIsReadBack) {
  for (const Recipe& recipe : recipes()) {
    SCOPED_TRACE(recipe.name);
    const std::string text = over_lines(to_json(recipe), 0);
    const Recipe read = parsed(text);
    EXPECT_EQ(read, recipe);
    EXPECT_EQ(over_lines(to_json(read), 0), text);
    for (const MappingForm form : {MappingForm::names, MappingForm::numbers}) {
      EXPECT_EQ(parse_recipe(to_json(recipe, form), ""), recipe);
      EXPECT_EQ(parse_recipe(with_whole_stages(recipe, form), ""), recipe);
    }
  }
}

TEST(RecipeJson, OfTheSeed) {
  EXPECT_EQ(over_lines(to_json(find_recipe("seed"))["stages"], 0), R"([
  {
    "size": 96,
    "iterations": 500,
    "start": {"kind": "uniform", "low": 0, "high": 1},
    "parameterisation": {"kind": "pixels", "colour": "as_is", "range": "unbounded"},
    "input_mapping": "identity",
    "kept_transforms": {"list": [], "border": "constant", "value": 0},
    "transforms": {"list": [], "border": "constant", "value": 0},
    "objective": {"kind": "mean", "margin": 0, "before_relu": false, "minimise": false, "rescue": true},
    "regularisers": [],
    "normalisation": {"kind": "l2", "epsilon": 1e-12, "epsilon_place": "least_sum"},
    "optimiser": {"kind": "ascent", "step": 0.1, "weight_decay": 0},
    "after_step": {"decay": 0, "clip": null, "blur_every": 0, "blur_deviation": 1}
  }
])");
}

TEST(RecipeJson, LaterStagesSayWhatDiffers) {
  const Json stages = to_json(find_recipe("fg91"))["stages"];
  ASSERT_EQ(stages.size(), 12u);
  // A first stage is never resampled, so the second one's resampling differs from it; of another kind, it is
  // whole.
  EXPECT_EQ(stages[1], Json::parse(R"({"size": 67, "resampling": {"kind": "bicubic", "keep_moments": false,
                                       "through_picture": false}})"));
  EXPECT_EQ(stages[8], Json::parse(R"({"size": 237})"));
  EXPECT_EQ(stages[2], Json::parse(R"({"size": 80})"));
  EXPECT_EQ(stages[7], Json::parse(R"({"size": 198, "iterations": 26})"));
}

TEST(RecipeJson, AStageBeginsAsTheOneBefore) {
  const Recipe recipe = parsed(R"({"stages": [
    {"size": [40, 50], "optimiser": {"kind": "adam", "step": 2, "beta1": 0.5}, "regularisers": [{"weight": 3}]},
    {"optimiser": {"step": 3}},
    {"optimiser": {"kind": "adam", "beta2": 0.75}, "objective": {"margin": 1}},
    {"optimiser": {"kind": "momentum"}, "regularisers": []}]})");
  ASSERT_EQ(recipe.stages.size(), 4u);
  EXPECT_EQ(recipe.stages[0].extent, (Extent{40, 50}));
  EXPECT_EQ(recipe.stages[0].iterations, Stage{}.iterations);
  EXPECT_EQ(recipe.stages[3].extent, (Extent{40, 50}));
  EXPECT_EQ(recipe.stages[1].optimiser, (Optimiser{.kind = Optimiser::Kind::adam, .step = 3, .beta1 = 0.5f}));
  EXPECT_EQ(recipe.stages[2].optimiser,
            (Optimiser{.kind = Optimiser::Kind::adam, .step = 3, .beta1 = 0.5f, .beta2 = 0.75f}));
  // Another kind begins with its own defaults.
  EXPECT_EQ(recipe.stages[3].optimiser, (Optimiser{.kind = Optimiser::Kind::momentum}));
  EXPECT_EQ(recipe.stages[2].objective.margin, 1);
  EXPECT_EQ(recipe.stages[2].regularisers.size(), 1u);
  EXPECT_TRUE(recipe.stages[3].regularisers.empty());
  EXPECT_EQ(parse_recipe(to_json(recipe), ""), recipe);
}

TEST(RecipeJson, MappingsByNameAndByNumbers) {
  const auto mapping = [](const std::string& value) {
    return parsed(R"({"stages": [{"input_mapping": )" + value + "}]}").first().input_mapping;
  };
  EXPECT_EQ(mapping(R"("auto")"), auto_mapping());
  EXPECT_EQ(mapping(R"("keras")"), keras_mapping());
  EXPECT_EQ(mapping(R"("torchvision")"), torchvision_mapping());
  EXPECT_EQ(mapping(to_json(keras_mapping()).dump()), keras_mapping());
  const InputMapping other = mapping(R"({"source": [2, 1, 0], "offset": [1, 2, 3.5]})");
  EXPECT_EQ(other, (InputMapping{.name = "custom", .source = {2, 1, 0}, .offset = {1, 2, 3.5f}}));
  // By its numbers, it is known.
  EXPECT_EQ(mapping(R"({"source": [0, 1, 2]})"), identity_mapping());

  Recipe recipe;
  recipe.stages.front().input_mapping = keras_mapping();
  EXPECT_EQ(to_json(recipe)["stages"][0]["input_mapping"], "keras");
  EXPECT_EQ(to_json(recipe, MappingForm::numbers)["stages"][0]["input_mapping"], to_json(keras_mapping()));
}

TEST(RecipeJson, ErrorsNameThePathAndWhatIsExpected) {
  EXPECT_EQ(problem("3"), "recipe x: expected a recipe, an object, found 3");
  EXPECT_EQ(problem(R"({"stages": 3})"), "recipe x: stages: expected a list, found 3");
  EXPECT_EQ(problem(R"({"stages": [3]})"), "recipe x: stages.0: expected an object, found 3");
  EXPECT_EQ(stage_problem(R"("optimiser": {"step": -1})"),
            "recipe x: stages.0.optimiser.step: expected a number above 0, found -1");
  EXPECT_EQ(stage_problem(R"("optimiser": {"step": "fast"})"),
            "recipe x: stages.0.optimiser.step: expected a number above 0, found \"fast\"");
  EXPECT_THAT(stage_problem(R"("optimiser": {"step": 1e300})"), HasSubstr("expected a number above 0"));
  EXPECT_EQ(stage_problem(R"("iterations": 0)"),
            "recipe x: stages.0.iterations: expected a whole number from 1 to 1000000000, found 0");
  EXPECT_THAT(stage_problem(R"("iterations": 1.5)"), HasSubstr("whole number"));
  EXPECT_EQ(stage_problem(R"("iterations": 1e2)"), "none");
  EXPECT_EQ(
      stage_problem(R"("optimiser": {"kind": "adem"})"),
      "recipe x: stages.0.optimiser.kind: expected ascent or momentum or adam or rmsprop, found \"adem\"");
  EXPECT_EQ(stage_problem(R"("optimizer": {})"),
            "recipe x: stages.0: unknown key \"optimizer\", did you mean optimiser?; expected one of: size, "
            "iterations, start, parameterisation, input_mapping, kept_transforms, transforms, objective, "
            "regularisers, normalisation, optimiser, after_step");
  EXPECT_EQ(problem(R"({"stagse": []})"),
            "recipe x: unknown key \"stagse\", did you mean stages?; expected one of: name, summary, source, "
            "trace_points, picture, stages");
  // Only what the kind uses.
  EXPECT_THAT(stage_problem(R"("optimiser": {"kind": "adam", "rho": 0.5})"),
              HasSubstr("unknown key \"rho\""));
  EXPECT_THAT(stage_problem(R"("resampling": {})"), HasSubstr("unknown key \"resampling\""));
  EXPECT_THAT(problem(R"({"stages": [{}, {"start": {}}]})"), HasSubstr("stages.1: unknown key \"start\""));
  EXPECT_THAT(stage_problem(R"("transforms": {"list": [{"kind": "jitter", "pixels": 1, "border": "wrap"}]})"),
              HasSubstr("stages.0.transforms.list.0: unknown key \"border\""));
  EXPECT_THAT(stage_problem(R"("size": [1, 2, 3])"),
              HasSubstr("expected N or [height, width], found [1, 2, 3]"));
  EXPECT_THAT(stage_problem(R"("after_step": {"clip": [[1], {}]})"), HasSubstr("stages.0.after_step.clip.0"));
  EXPECT_THAT(stage_problem(R"("input_mapping": "bgr")"), HasSubstr("auto, identity, keras"));
  EXPECT_THAT(stage_problem(R"("input_mapping": {"source": [0, 1, 3]})"),
              HasSubstr("input_mapping.source.2: expected a whole number from 0 to 2, found 3"));
  EXPECT_THAT(stage_problem(R"("transforms": {"list": [{"kind": "scale", "factors": []}]})"),
              HasSubstr("factors: expected a list of numbers or"));
}

TEST(RecipeValidation, WhatDoesNotFitTogether) {
  const auto expect = [](const std::string& members, const std::string& text) {
    EXPECT_THAT(stage_problem(members), HasSubstr(text)) << members;
  };
  EXPECT_THAT(problem(R"({"name": "x", "stages": []})"), HasSubstr("stages: expected at least one stage"));
  EXPECT_THAT(problem("{}"), HasSubstr("name: expected a line of UTF-8 of 1 to 100 bytes, found \"\""));
  expect(R"("size": 31)", "stages.0.size: expected at least 32 in height and width, the network's smallest");
  expect(R"("size": [64, 31])", "found 31 x 64");
  expect(R"("size": 32)", "none");
  expect(R"("start": {"low": 1})", "stages.0.start: expected low below high, found 1 and 1");
  expect(R"("start": {"kind": "gaussian", "deviation": 0})", "start.deviation: expected a number above 0");
  const std::string crop = R"("size": 64, "transforms": {"list": [{"kind": "crop", "pixels": )";
  expect(crop + "16}]}", "none");
  expect(crop + "17}]}", "transforms (what the network sees): expected at least 32");
  expect(crop + "32}]}", "transforms.list.0.pixels: expected less than half of the image's smaller side, 64");
  expect(R"("transforms": {"list": [{"kind": "jitter", "pixels": 97}]})",
         "at most the image's smaller side, 96");
  expect(R"("transforms": {"list": [{"kind": "pad", "pixels": 1}, {"kind": "jitter", "pixels": 97}]})",
         "none");
  expect(R"("transforms": {"border": "wrap"})", "transforms.border: expected constant");
  expect(R"("transforms": {"list": [{"kind": "rotate", "degrees": {"low": 2, "high": 1}}]})",
         "low at most high");
  expect(R"("transforms": {"list": [{"kind": "scale", "factors": [1, 0]}]})",
         "factors.1: expected a number from");
  expect(R"("kept_transforms": {"list": [{"kind": "pad", "pixels": 1}]})",
         "kept_transforms.list.0.kind: expected jitter, scale, rotate or flip");
  expect(
      R"("kept_transforms": {"list": [{"kind": "jitter", "pixels": 1, "border": "wrap"}], "border": "edge"})",
      "none");
  for (const char* of :
       {R"({"kind": "fourier"})", R"({"range": "sigmoid"})", R"({"colour": "decorrelated"})"}) {
    const std::string members = R"("parameterisation": )" + std::string(of) + ", ";
    expect(members + R"("after_step": {"decay": 0.1})", "none");
    expect(members + R"("kept_transforms": {"list": [{"kind": "jitter", "pixels": 1}]})",
           "kept_transforms.list: expected none unless the parameterisation is of kind pixels");
    expect(members + R"("after_step": {"clip": [0, 1]})", "after_step.clip: expected null unless");
    expect(members + R"("after_step": {"blur_every": 1})", "after_step.blur_every: expected 0 unless");
  }
  expect(R"("after_step": {"clip": [1, 1]})", "after_step.clip: expected low below high");
  expect(R"("objective": {"minimise": true})", "minimise: expected false unless before_relu is true");
  expect(R"("objective": {"minimise": true, "before_relu": true})", "none");
  expect(R"("regularisers": [{"kind": "lp_norm", "power": 0.5}])", "power: expected a number from 1 to 100");
  expect(R"("iterations": 300000000, "transforms": {"list": [{"kind": "jitter", "pixels": 2}]})",
         "iterations: expected at most 268435455 in all with transforms");
  EXPECT_THAT(problem(R"({"name": "x", "stages": [{"iterations": 600000000}, {}]})"),
              HasSubstr("stages: expected at most 1000000000 iterations in all"));
  EXPECT_THAT(problem(R"({"name": "x", "picture": {"crop": 48}})"), HasSubstr("smaller side, 96, found 48"));
  EXPECT_THAT(problem(R"({"name": "x", "picture": {"size": 20, "crop": 10}})"),
              HasSubstr("side, 20, found 10"));
  EXPECT_THAT(problem(R"({"name": "x", "picture": {"kind": "clip", "low": 1}})"),
              HasSubstr("low below high"));
}

// As users of the library may make them.
TEST(RecipeValidation, ChecksWhatNoJsonSays) {
  const auto expect = [](const std::function<void(Recipe&)>& change, const std::string& text) {
    Recipe recipe = find_recipe("seed");
    change(recipe);
    EXPECT_THAT(problem_of([&] { require_valid(recipe, kSmallest); }), HasSubstr(text));
  };
  expect([](Recipe&) {}, "none");
  expect([](Recipe& r) { r.stages[0].optimiser.step = std::numeric_limits<float>::quiet_NaN(); },
         "recipe seed: stages.0.optimiser.step: expected a number above 0, found nan");
  expect([](Recipe& r) { r.picture.kind = static_cast<Picture::Kind>(9); },
         "picture.kind: expected a value of");
  expect([](Recipe& r) { r.name = "a\nb"; }, "recipe a?b: name: expected a line of UTF-8");
  expect(
      [](Recipe& r) {
        r.stages[0].extent = {1 << 20, 96};
      },
      "stages.0.size: expected a whole number from 1");
  expect([](Recipe& r) { r.stages[0].transforms.list.resize(17); }, "transforms.list: expected at most 16");
  expect([](Recipe& r) { r.stages[0].regularisers.resize(17); }, "regularisers: expected at most 16");
  expect(
      [](Recipe& r) {
        r.stages[0].transforms.list = {
            {.kind = Transform::Kind::jitter, .pixels = 2, .border = Border::wrap}};
      },
      "transforms.list.0.border: expected none");
  for (const Recipe& recipe : recipes())
    EXPECT_EQ(problem_of([&] { require_valid(recipe, kSmallest); }), "none") << recipe.name;
}

TEST(SetValue, ChangesOneValue) {
  const auto with = [](const char* recipe, const std::vector<std::pair<const char*, const char*>>& values) {
    Json json = to_json(find_recipe(recipe));
    for (const auto& [path, text] : values) set_value(json, path, text, "--set");
    return parse_recipe(json, "--set");
  };
  const Recipe& seed = find_recipe("seed");
  Recipe expected = seed;
  expected.stages[0].optimiser.step = 0.5f;
  EXPECT_EQ(with("seed", {{"stages.0.optimiser.step", "0.5"}}), expected);
  expected = seed;
  expected.stages[0].optimiser = {.kind = Optimiser::Kind::adam, .step = 0.05f, .beta1 = 0.5f};
  EXPECT_EQ(with("seed", {{"stages.0.optimiser.kind", "adam"},
                          {"stages.0.optimiser.step", "0.05"},
                          {"stages.0.optimiser.beta1", "0.5"}}),
            expected);
  EXPECT_EQ(with("seed", {{"stages.0.optimiser", R"({"kind": "adam", "step": 0.05, "beta1": 0.5})"}}),
            expected);
  expected = seed;
  expected.stages.push_back(seed.first());
  expected.stages[1].extent = {128, 128};
  expected.name = "a bare word";
  EXPECT_EQ(with("seed", {{"stages.1.size", "128"}, {"name", "a bare word"}}), expected);
  expected = find_recipe("lucid");
  expected.stages[0].transforms.list[0].pixels = 3;
  expected.stages[0].input_mapping = keras_mapping();
  EXPECT_EQ(with("lucid", {{"stages.0.transforms.list.0.pixels", "3"}, {"stages.0.input_mapping", "keras"}}),
            expected);
  // Later stages keep what they say themselves.
  const Recipe fg91 = with("fg91", {{"stages.0.iterations", "5"}});
  EXPECT_EQ(fg91.stages[6].iterations, 5);
  EXPECT_EQ(fg91.stages[7].iterations, 26);
  EXPECT_EQ(with("fg91", {{"stages.3.optimiser.step", "1"}}).stages[11].optimiser.weight_decay, 1e-6f);

  EXPECT_EQ(problem_of([&] {
              with("seed", {{"stages.2.size", "1"}});
            }),
            "--set: stages: expected a number from 0 to 1, found \"2\"");
  EXPECT_EQ(problem_of([&] {
              with("seed", {{"stages.0.size.0", "1"}});
            }),
            "--set: stages.0.size: expected something that has members, found \"0\"");
  EXPECT_THAT(problem_of([&] { with("seed", {{"stages..size", "1"}}); }), HasSubstr("found \"\""));
  EXPECT_THAT(problem_of([&] { with("seed", {{"", "1"}}); }), HasSubstr("expected"));
  EXPECT_THAT(problem_of([&] {
                with("seed", {{"stages.0.optimiser.stp", "1"}});
              }),
              HasSubstr("--set: stages.0.optimiser: unknown key \"stp\", did you mean step?"));
}

TEST(Differences, AreThoseThatSetValueNeeds) {
  for (const Recipe& from : recipes())
    for (const Recipe& to : recipes()) {
      SCOPED_TRACE(from.name + " to " + to.name);
      Json json = to_json(from);
      for (const RecipeDifference& one : differences(with_whole_stages(from), with_whole_stages(to)))
        if (one.second) set_value(json, one.path, on_one_line(*one.second), "");
      EXPECT_EQ(parse_recipe(json, ""), to);
    }
  Recipe changed = find_recipe("keras2019");
  changed.stages[4].optimiser.step = 3;
  changed.picture.crop = 2;
  const auto found = differences(with_whole_stages(find_recipe("keras2019")), with_whole_stages(changed));
  ASSERT_EQ(found.size(), 2u);
  EXPECT_EQ(found[0].path, "picture.crop");
  EXPECT_EQ(found[1].path, "stages.4.optimiser.step");
  EXPECT_EQ(found[1].first, 1);
  EXPECT_EQ(found[1].second, 3);
}

/// A file of this test.
class File {
 public:
  explicit File(const std::string& text)
      : path_(std::filesystem::temp_directory_path() /
              ("filterscope_recipe_" + std::to_string(getpid()) + ".json")) {
    std::ofstream(path_) << text;
  }
  ~File() { std::filesystem::remove(path_); }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

TEST(ReadRecipe, FromAFile) {
  Recipe lucid = find_recipe("lucid");
  EXPECT_EQ(read_recipe(File(to_json(lucid).dump()).path()), lucid);
  EXPECT_EQ(read_recipe(File(Json{{"program", "filterscope"}, {"recipe", to_json(lucid)}}.dump()).path()),
            lucid);
  const File nameless("{}");
  EXPECT_EQ(read_recipe(nameless.path()).name, nameless.path().stem().string());
  EXPECT_THAT(problem_of([] { read_recipe(File("{").path()); }), HasSubstr(".json: it is not valid JSON"));
  EXPECT_THAT(problem_of([] { read_recipe(File(R"({"name": 1})").path()); }),
              HasSubstr(".json: name: expected"));
  try {
    read_recipe("/nowhere/recipe.json");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::input);
    EXPECT_THAT(error.what(), HasSubstr("/nowhere/recipe.json: expected a JSON file"));
  }
}

/// Changes something in a valid recipe's JSON: a value, a key, or its type.
void mutate(Json& json, std::mt19937& random) {
  const auto pick = [&](std::size_t count) { return static_cast<std::size_t>(random()) % count; };
  if (json.is_structured() && !json.empty() && pick(8) != 0) {
    const std::size_t member = pick(json.size());
    auto at = json.begin();
    std::advance(at, static_cast<std::ptrdiff_t>(member));
    if (pick(20) == 0)
      json.erase(at);
    else
      mutate(*at, random);
    return;
  }
  static const std::vector<Json> kValues{nullptr,
                                         true,
                                         -1,
                                         0,
                                         1,
                                         2,
                                         96,
                                         1e9,
                                         -0.5,
                                         0.5,
                                         1e-30,
                                         1e38,
                                         1e39,
                                         -1e300,
                                         4294967296,
                                         1u << 31,
                                         "",
                                         "adam",
                                         "fourier",
                                         "clip",
                                         "auto",
                                         "keras",
                                         "x",
                                         "wrap",
                                         "pad",
                                         "crop",
                                         "scale",
                                         "rotate",
                                         "lp_norm",
                                         "position",
                                         Json::array(),
                                         Json::object(),
                                         Json{1, 2},
                                         Json{0, 0, 0},
                                         Json{{"kind", "crop"}},
                                         Json{{"low", 1}}};
  if (json.is_array() && pick(2) == 0)
    json.push_back(json.empty() || pick(2) == 0 ? kValues[pick(kValues.size())] : json[0]);
  else if (json.is_object() && pick(2) == 0)
    json[pick(2) == 0 ? "kind" : "size"] = kValues[pick(kValues.size())];
  else
    json = kValues[pick(kValues.size())];
}

TEST(RecipeJson, MutationsAreRecipesOrUsageErrors) {
  std::mt19937 random(7);
  int recipes_read = 0, valid = 0;
  for (int round = 0; round < 20'000; ++round) {
    const Recipe& preset = recipes()[random() % recipes().size()];
    Json json = random() % 2 ? to_json(preset) : with_whole_stages(preset, MappingForm::numbers);
    for (auto count = 1 + random() % 3; count > 0; --count) mutate(json, random);
    try {
      const Recipe recipe = parse_recipe(json, "x");
      ++recipes_read;
      ASSERT_EQ(parse_recipe(to_json(recipe), "y"), recipe) << json;
      require_valid(recipe, kSmallest);
      ++valid;
      ASSERT_GE(std::min(recipe.picture_extent().height, recipe.picture_extent().width), 1) << json;
      for (const Stage& stage : recipe.stages)
        ASSERT_GE(std::min(canvas_extent(stage).height, canvas_extent(stage).width), kSmallest) << json;
    } catch (const Error& error) {
      ASSERT_EQ(error.kind(), ErrorKind::usage) << error.what();
    }
  }
  EXPECT_GT(recipes_read, 1000);
  EXPECT_GT(valid, 1000);
  EXPECT_LT(valid, recipes_read);
}

// Texts that are JSON only by chance.
TEST(RecipeJson, BrokenTextsAreErrors) {
  std::mt19937 random(8);
  for (int round = 0; round < 2'000; ++round) {
    std::string text = to_json(recipes()[random() % recipes().size()]).dump();
    for (auto count = 1 + random() % 4; count > 0; --count)
      text[random() % text.size()] = static_cast<char>(random() % 256);
    try {
      require_valid(parse_recipe(parse_json(text), "x"), kSmallest);
    } catch (const Error&) {
    } catch (const std::invalid_argument&) {  // From parse_json().
    }
  }
}

}  // namespace
}  // namespace filterscope
