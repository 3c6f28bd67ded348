#include "host/store/manifest.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <utility>

#include "host/ascent/recipe_json.h"
#include "host/store/settings.h"
#include "manifest_example.h"
#include "version.h"

namespace filterscope {
namespace {

using nlohmann::json;
using testing::HasSubstr;

TEST(Manifest, SaysHowTheRunWasDone) {
  const json manifest = json::parse(to_json(example()));
  EXPECT_EQ(manifest["program"], "filterscope");
  EXPECT_EQ(manifest["version"], kVersion);
  EXPECT_EQ(manifest["command_lines"],
            (json{"filterscope render 'block1_*:0-1'", "filterscope render 'block1_*:0-2'"}));
  EXPECT_EQ(manifest["started"], "2023-11-14T22:13:20Z");
  EXPECT_EQ(manifest["complete"], false);
  EXPECT_EQ(manifest["network"], "vgg16");
  EXPECT_EQ(manifest["size"], (json{{"height", 96}, {"width", 80}}));
  EXPECT_EQ(manifest["iterations"], 200);
  EXPECT_EQ(manifest["trace_every"], 4);
  EXPECT_EQ(manifest["seed"], 18446744073709551615u);
  EXPECT_EQ(manifest["init"], nullptr);
  EXPECT_EQ(manifest["reproducible"], false);
  ASSERT_EQ(manifest["engines"].size(), 2u);
  EXPECT_EQ(manifest["engines"][0], (json{{"device", "cpu"},
                                          {"device_name", "Some CPU"},
                                          {"precision", "fp32"},
                                          {"threads", 2},
                                          {"libraries", {{"CUDA", "13.0.88"}, {"another", "1"}}},
                                          {"plans", {"batch 8; block1_conv1 fprop direct", "batch 3"}}}));
  EXPECT_EQ(manifest["wall_seconds"], 12.34567);
  EXPECT_EQ(manifest["phases"], (json{{"start_up", 0.5},
                                      {"weights", 0.25},
                                      {"plans", 1},
                                      {"ascent", 12.0625},
                                      {"finish", 0.125},
                                      {"encode", 3},
                                      {"write", 0.1234}}));
  EXPECT_NEAR(manifest["filters_per_second"], 4 / 12.34567, 1e-6);
  EXPECT_EQ(manifest["counts"],
            (json{{"ok", 1}, {"rescued", 1}, {"dead", 1}, {"nonfinite", 1}, {"missing", 1}}));
}

TEST(Manifest, NamesTheWeights) {
  Manifest manifest = example();
  json weights = json::parse(to_json(manifest))["weights"];
  EXPECT_EQ(weights["name"], "vgg16.h5");
  EXPECT_EQ(weights["path"], "/data/vgg16.h5");
  EXPECT_EQ(weights["kind"], to_string(WeightsKind::keras_hdf5));
  EXPECT_EQ(weights["sha256"], "00ff");
  EXPECT_EQ(weights["synthetic"], false);
  EXPECT_EQ(weights["natural_input"]["name"], keras_mapping().name);
  EXPECT_EQ(weights["natural_input"]["source"], (json{2, 1, 0}));
  EXPECT_EQ(weights["natural_input"]["scale"], (json{255, 255, 255}));
  EXPECT_EQ(weights["natural_input"]["offset"], (json{-103.939, -116.779, -123.68}));
  EXPECT_EQ(weights["notes"], json::array());

  manifest.weights.natural_input = std::nullopt;
  manifest.weights.conversions = {"kernels rotated"};
  manifest.weights.notes = {"of other images"};
  weights = json::parse(to_json(manifest))["weights"];
  EXPECT_EQ(weights["natural_input"], nullptr);
  EXPECT_EQ(weights["conversions"], json{"kernels rotated"});
  EXPECT_EQ(weights["notes"], json{"of other images"});
  const Manifest read = parse_manifest(to_json(manifest), vgg16());
  EXPECT_EQ(read.weights.natural_input, std::nullopt);
  EXPECT_EQ(read.weights.conversions, manifest.weights.conversions);
  EXPECT_EQ(read.weights.notes, manifest.weights.notes);

  manifest.weights = {.name = "synthetic:3", .path = "", .sha256 = "", .natural_input = identity_mapping()};
  weights = json::parse(to_json(manifest))["weights"];
  EXPECT_EQ(weights["synthetic"], true);
  EXPECT_EQ(weights["path"], nullptr);
  EXPECT_EQ(weights["sha256"], nullptr);
}

TEST(Manifest, HoldsEveryValueOfTheRecipe) {
  Manifest manifest = example();
  for (const Recipe& recipe : recipes()) {
    manifest.recipe = recipe;
    const json written = json::parse(to_json(manifest));
    EXPECT_EQ(written["recipe"], json(to_json(recipe, MappingForm::numbers)));
    EXPECT_EQ(written["size"],
              (json{{"height", recipe.picture_extent().height}, {"width", recipe.picture_extent().width}}));
    EXPECT_EQ(written["iterations"], recipe.iterations());
    EXPECT_EQ(parse_manifest(to_json(manifest), vgg16()).recipe, recipe) << recipe.name;
  }
  manifest.recipe = find_recipe("seed");
  EXPECT_EQ(json::parse(to_json(manifest))["recipe"]["stages"][0]["input_mapping"],
            (json{{"name", "identity"}, {"source", {0, 1, 2}}, {"scale", {1, 1, 1}}, {"offset", {0, 0, 0}}}));
}

TEST(Manifest, HasARecordForEveryFilter) {
  const json filters = json::parse(to_json(example()))["filters"];
  ASSERT_EQ(filters.size(), 5u);
  EXPECT_EQ(filters[0], (json{{"layer", "block1_conv1"},
                              {"filter", 0},
                              {"seed", 18446744073709551615u},
                              {"iterations", 200},
                              {"first_loss", 0.1},
                              {"final_loss", 1.5},
                              {"last_gradient_norm", 1e-5},
                              {"status", "ok"},
                              {"file", "block1_conv1/block1_conv1_f0000.png"},
                              {"engine", 0},
                              {"animation", "block1_conv1/block1_conv1_f0000.apng"},
                              {"frame_every", 10}}));
  EXPECT_EQ(filters[1]["status"], "dead");
  EXPECT_EQ(filters[2]["status"], "nonfinite");
  EXPECT_EQ(filters[2]["first_loss"], 1);
  EXPECT_EQ(filters[2]["final_loss"], nullptr);
  EXPECT_EQ(filters[2]["last_gradient_norm"], nullptr);
  EXPECT_EQ(filters[3]["layer"], "block1_conv2");
  EXPECT_EQ(filters[3]["status"], "missing");
  for (const char* unknown :
       {"iterations", "first_loss", "final_loss", "last_gradient_norm", "file", "engine"})
    EXPECT_EQ(filters[3][unknown], nullptr) << unknown;
  EXPECT_EQ(filters[4]["status"], "rescued");
  EXPECT_EQ(filters[4]["rescued_iterations"], 37);
  EXPECT_EQ(filters[4]["alive_from"], 39);
  EXPECT_EQ(filters[4]["range"], 7);
  for (const int other : {0, 1, 2, 3}) {
    EXPECT_FALSE(filters[other].contains("rescued_iterations")) << other;
    EXPECT_FALSE(filters[other].contains("alive_from")) << other;
    EXPECT_FALSE(filters[other].contains("range")) << other;
  }
}

TEST(Manifest, HasOneFilterPerLine) {
  const std::string text = to_json(example());
  EXPECT_THAT(text,
              HasSubstr("\n    {\"layer\": \"block1_conv1\", \"filter\": 0, \"seed\": 18446744073709551615, "
                        "\"iterations\": 200, \"first_loss\": 0.1, \"final_loss\": 1.5, "
                        "\"last_gradient_norm\": 1e-05, \"status\": \"ok\", "
                        "\"file\": \"block1_conv1/block1_conv1_f0000.png\", \"engine\": 0, \"animation\": "
                        "\"block1_conv1/block1_conv1_f0000.apng\", \"frame_every\": 10},\n"
                        "    {\"layer\": \"block1_conv1\", \"filter\": 1,"));
  EXPECT_THAT(text, testing::StartsWith("{\n  \"program\": \"filterscope\",\n  \"version\""));
  EXPECT_THAT(
      text, HasSubstr("\n  \"raw\": [\n    {\"layer\": \"block1_conv1\", \"file\": \"raw/block1_conv1.npy\", "
                      "\"filters\": [0, 1, 2]}\n  ]\n}\n"));
}

TEST(Manifest, SpreadsEnginesOverLines) {
  EXPECT_THAT(
      to_json(example()),
      HasSubstr(
          "\n  \"engines\": [\n    {\n      \"device\": \"cpu\",\n      \"device_name\": \"Some CPU\",\n"));
  EXPECT_THAT(to_json(example()),
              HasSubstr("\n      \"plans\": [\n        \"batch 8; block1_conv1 fprop direct\",\n"));
}

TEST(Manifest, BeforeTheRun) {
  Manifest manifest = example();
  manifest.wall_seconds = 0;
  manifest.filters.clear();
  manifest.raw.clear();
  const json before = json::parse(to_json(manifest));
  EXPECT_EQ(before["wall_seconds"], 0);
  EXPECT_EQ(before["filters_per_second"], nullptr);
  EXPECT_EQ(before["filters"], json::array());
  EXPECT_FALSE(before.contains("raw"));
}

TEST(Manifest, IsAlwaysUtf8) {
  Manifest manifest = example();
  manifest.command_lines = {"filterscope --out \xff\xfe\"\n"};
  EXPECT_EQ(json::parse(to_json(manifest))["command_lines"][0],
            "filterscope --out \xef\xbf\xbd\xef\xbf\xbd\"\n");
}

TEST(Manifest, IsReadBack) {
  Manifest manifest = example();
  manifest.wall_seconds = 12.5;  // It is rounded to microseconds.
  for (const bool more : {false, true}) {
    if (more) {
      manifest.init = InitRecord{.file = "start.npy", .sha256 = "ab", .filters = "block1_conv1:0,2"};
      manifest.weights = {
          .name = "synthetic:3", .path = "", .sha256 = "", .natural_input = identity_mapping()};
      manifest.recipe.stages[0].input_mapping = torchvision_mapping();
      manifest.reproducible = true;
      manifest.complete = true;
      manifest.raw.clear();
      manifest.command_lines.clear();
    }
    const std::string text = to_json(manifest);
    EXPECT_EQ(to_json(parse_manifest(text, vgg16())), text);
    EXPECT_THAT(differing_settings(parse_manifest(text, vgg16()), manifest), testing::IsEmpty());
  }
}

/// The recipe as versions wrote it whose only one was `seed`.
json old_recipe() {
  return {{"name", "seed"},
          {"source", find_recipe("seed").source},
          {"initial_image", {{"kind", "uniform"}, {"low", 0}, {"high", 1}}},
          {"input_mapping",
           {{"name", "identity"}, {"source", {0, 1, 2}}, {"scale", {1, 1, 1}}, {"offset", {0, 0, 0}}}},
          {"objective", "mean_activation"},
          {"rescue", true},
          {"gradient_normalisation", {{"kind", "l2_per_image"}, {"epsilon", 1e-12}}},
          {"optimiser", {{"kind", "gradient_ascent"}, {"step", 0.1}}},
          {"picture_mapping", "min_max"},
          {"size", 96},
          {"iterations", 200},
          {"trace_points", 50}};
}

TEST(Manifest, OfVersionsWithoutStagesIsRead) {
  json old = json::parse(to_json(example()));
  old["recipe"] = old_recipe();
  const Manifest read = parse_manifest(old.dump(), vgg16());
  EXPECT_EQ(read.recipe.first(), example().recipe.first());
  EXPECT_EQ(read.recipe.picture_extent(), (Extent{96, 80}));
  EXPECT_THAT(differing_settings(read, example()), testing::IsEmpty());

  old["recipe"]["optimiser"]["step"] = 0.5;
  old["recipe"]["initial_image"]["high"] = 2;
  const auto differences = differing_settings(parse_manifest(old.dump(), vgg16()), example());
  ASSERT_EQ(differences.size(), 2u);
  EXPECT_EQ(differences[0].name, "the recipe's stages.0.start.high");
  EXPECT_EQ(differences[1].name, "--step");

  for (const auto& [pointer, value] : {std::pair<const char*, json>{"/optimiser/kind", "adam"},
                                       {"/objective", "median"},
                                       {"/trace_points", 0}}) {
    json changed = old;
    changed["recipe"][json::json_pointer(pointer)] = value;
    EXPECT_THROW(parse_manifest(changed.dump(), vgg16()), std::invalid_argument) << pointer;
  }
}

// Versions without rescue left images without a gradient unchanged.
TEST(Manifest, WithoutTheRescueFieldHadNoRescue) {
  json old = json::parse(to_json(example()));
  old["recipe"] = old_recipe();
  old["recipe"].erase("rescue");
  old["version"] = "0.1.0";
  old.erase("results");
  old["weights"].erase("conversions");
  old["weights"].erase("notes");
  const Manifest read = parse_manifest(old.dump(), vgg16());
  EXPECT_FALSE(read.recipe.first().objective.rescue);
  const auto differences = differing_settings(read, example());
  ASSERT_EQ(differences.size(), 1u);
  EXPECT_EQ(differences[0].name, "--rescue");
}

TEST(Manifest, RejectsInvalidFiles) {
  const auto problem = [](const std::string& text, const Network& network = vgg16()) -> std::string {
    try {
      parse_manifest(text, network);
    } catch (const std::invalid_argument& exception) {
      return exception.what();
    }
    return "none";
  };
  const std::string good = to_json(example());
  const auto with = [&](const char* pointer, const json& value) {
    json changed = json::parse(good);
    changed[json::json_pointer(pointer)] = value;
    return problem(changed.dump());
  };
  EXPECT_EQ(problem(good), "none");
  EXPECT_THAT(problem(good.substr(0, good.size() / 2)), HasSubstr("not valid JSON"));
  EXPECT_EQ(problem(""), "it is not valid JSON, from byte 1 on");
  EXPECT_THAT(problem(R"({"program": 1e999})"), HasSubstr("it is JSON that cannot be read (number overflow"));
  EXPECT_EQ(problem("{}"), "it is another program's");
  EXPECT_EQ(problem("[1]"), "it is another program's");
  EXPECT_EQ(problem(R"({"program": 1})"), "it is another program's");
  EXPECT_EQ(problem(R"({"program": "filterscope"})"),
            "this version of the program would write it differently (key 'network' not found)");
  EXPECT_THAT(problem(good, vgg(11)), HasSubstr("network other than vgg11"));
  EXPECT_THAT(with("/program", "another"), HasSubstr("another program"));
  EXPECT_THAT(with("/started", "yesterday"), HasSubstr("\"yesterday\""));
  EXPECT_EQ(with("/recipe/stages/0/optimiser/kind", "newton"),
            "its recipe: stages.0.optimiser.kind: expected ascent or momentum or adam or rmsprop, found "
            "\"newton\"");
  EXPECT_EQ(with("/recipe/stages/0/later", 1).substr(0, 43), "its recipe: stages.0: unknown key \"later\"; ");
  EXPECT_THAT(with("/recipe/stages", json::array()), HasSubstr("another size"));
  EXPECT_THAT(with("/size/height", 97), HasSubstr("another size"));
  EXPECT_THAT(with("/filters/0/layer", "block9_conv1"), HasSubstr("block9_conv1"));
  EXPECT_THAT(with("/filters/0/filter", 64), HasSubstr("no filter 64"));
  EXPECT_THAT(with("/filters/0/filter", -1), HasSubstr("no filter -1"));
  EXPECT_THAT(with("/filters/0/filter", 1), HasSubstr("ascending"));
  EXPECT_THAT(with("/filters/0/engine", 2), HasSubstr("does not describe"));
  EXPECT_THAT(with("/raw/0/filters/0", 64), HasSubstr("no filter 64"));
  EXPECT_THAT(with("/filters/4/rescued_iterations", -1), HasSubstr("is negative"));
  EXPECT_THAT(with("/filters/4/alive_from", -1), HasSubstr("is negative"));
  EXPECT_THAT(with("/size/width", 0), HasSubstr("no size"));
  EXPECT_THAT(with("/engines", json::array()), HasSubstr("no engine"));
}

TEST(Manifest, AddsPlansToTheSameEngine) {
  Manifest manifest = example();
  EngineDescription engine = manifest.engines[0];
  engine.plans = {"batch 3", "batch 1"};
  EXPECT_EQ(add_engine(manifest, engine), 0u);
  EXPECT_THAT(manifest.engines[0].plans,
              testing::ElementsAre("batch 8; block1_conv1 fprop direct", "batch 3", "batch 1"));
  engine.threads = 3;
  EXPECT_EQ(add_engine(manifest, engine), 2u);
  EXPECT_EQ(manifest.engines.size(), 3u);
}

TEST(RecipeText, NamesTheStartImages) {
  Manifest manifest = example();
  EXPECT_EQ(recipe_text(manifest),
            "recipe seed, 200 iterations, 80 x 96 pixels, seed 18446744073709551615, weights vgg16.h5");
  manifest.recipe.stages.front().iterations = 1;
  manifest.init = {.file = "/home/someone/a photo.npy", .sha256 = "0123", .filters = ""};
  EXPECT_EQ(recipe_text(manifest),
            "recipe seed, 1 iteration, 80 x 96 pixels, started from a photo.npy, weights vgg16.h5");
  manifest.init->filters = "block1_conv1:0,1";
  EXPECT_THAT(recipe_text(manifest), HasSubstr("started from the images in a photo.npy"));
}

}  // namespace
}  // namespace filterscope
