#include "host/output/manifest.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <nlohmann/json.hpp>

#include "version.h"

namespace filterscope {
namespace {

using nlohmann::json;
using testing::HasSubstr;

Manifest example() {
  Manifest manifest;
  manifest.command_line = "filterscope render 'block1_*:0-2'";
  manifest.started = std::chrono::system_clock::from_time_t(1700000000);
  manifest.network = vgg16();
  manifest.weights = {.name = "vgg16.h5",
                      .path = "/data/vgg16.h5",
                      .kind = WeightsKind::keras_hdf5,
                      .sha256 = "00ff",
                      .natural_input = keras_mapping()};
  manifest.recipe = find_recipe("seed");
  manifest.recipe.iterations = 200;
  manifest.extent = {96, 80};
  manifest.seed = 18446744073709551615u;
  manifest.trace_every = 4;
  manifest.engine = EngineDescription{.device = "cpu",
                                      .device_name = "Some CPU",
                                      .precision = Precision::fp32,
                                      .threads = 2,
                                      .libraries = {{"oneDNN", "2.6.0"}},
                                      .plans = {"batch 8; block1_conv1 fprop direct", "batch 3"}};
  manifest.wall_seconds = 12.34567;
  manifest.filters.resize(4);
  for (int i = 0; i < 4; ++i) manifest.filters[static_cast<std::size_t>(i)].id = {i / 3, i % 3};
  manifest.filters[0] = {.id = {0, 0},
                         .status = FilterStatus::ok,
                         .iterations = 200,
                         .first_loss = 0.1f,
                         .final_loss = 1.5f,
                         .last_gradient_norm = 1e-5f,
                         .file = "block1_conv1/block1_conv1_f0000.png"};
  manifest.filters[1] = {.id = {0, 1}, .status = FilterStatus::dead, .iterations = 0, .file = "a"};
  manifest.filters[2] = {.id = {0, 2},
                         .status = FilterStatus::nonfinite,
                         .iterations = 7,
                         .first_loss = 1.f,
                         .final_loss = std::numeric_limits<float>::infinity(),
                         .last_gradient_norm = std::numeric_limits<float>::quiet_NaN(),
                         .file = "b"};
  manifest.raw = {{.layer = 0, .file = "raw/block1_conv1.npy", .filters = {0, 1, 2}}};
  return manifest;
}

TEST(Manifest, SaysHowTheRunWasDone) {
  const json manifest = json::parse(to_json(example()));
  EXPECT_EQ(manifest["program"], "filterscope");
  EXPECT_EQ(manifest["version"], kVersion);
  EXPECT_EQ(manifest["command_line"], "filterscope render 'block1_*:0-2'");
  EXPECT_EQ(manifest["started"], "2023-11-14T22:13:20Z");
  EXPECT_EQ(manifest["complete"], false);
  EXPECT_EQ(manifest["network"], "vgg16");
  EXPECT_EQ(manifest["size"], (json{{"height", 96}, {"width", 80}}));
  EXPECT_EQ(manifest["iterations"], 200);
  EXPECT_EQ(manifest["trace_every"], 4);
  EXPECT_EQ(manifest["seed"], 18446744073709551615u);
  EXPECT_EQ(manifest["init"], nullptr);
  EXPECT_EQ(manifest["reproducible"], false);
  EXPECT_EQ(manifest["device"], "cpu");
  EXPECT_EQ(manifest["device_name"], "Some CPU");
  EXPECT_EQ(manifest["precision"], "fp32");
  EXPECT_EQ(manifest["threads"], 2);
  EXPECT_EQ(manifest["libraries"], (json{{"oneDNN", "2.6.0"}}));
  EXPECT_EQ(manifest["plans"], (json{"batch 8; block1_conv1 fprop direct", "batch 3"}));
  EXPECT_EQ(manifest["wall_seconds"], 12.346);
  EXPECT_NEAR(manifest["filters_per_second"], 3 / 12.34567, 1e-6);
  EXPECT_EQ(manifest["counts"], (json{{"ok", 1}, {"dead", 1}, {"nonfinite", 1}, {"missing", 1}}));
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

  manifest.weights = {.name = "synthetic:3", .path = "", .sha256 = "", .natural_input = identity_mapping()};
  weights = json::parse(to_json(manifest))["weights"];
  EXPECT_EQ(weights["synthetic"], true);
  EXPECT_EQ(weights["path"], nullptr);
  EXPECT_EQ(weights["sha256"], nullptr);
}

TEST(Manifest, HoldsEveryValueOfTheRecipe) {
  Recipe recipe = find_recipe("seed");
  recipe.iterations = 200;
  EXPECT_EQ(
      json::parse(to_json(example()))["recipe"],
      (json{{"name", "seed"},
            {"source", recipe.source},
            {"initial_image", {{"kind", "uniform"}, {"low", 0}, {"high", 1}}},
            {"input_mapping",
             {{"name", "identity"}, {"source", {0, 1, 2}}, {"scale", {1, 1, 1}}, {"offset", {0, 0, 0}}}},
            {"objective", "mean_activation"},
            {"gradient_normalisation", {{"kind", "l2_per_image"}, {"epsilon", 1e-12}}},
            {"optimiser", {{"kind", "gradient_ascent"}, {"step", 0.1}}},
            {"picture_mapping", "min_max"},
            {"size", recipe.size},
            {"iterations", 200},
            {"trace_points", 50}}));
}

TEST(Manifest, HasARecordForEveryFilter) {
  const json filters = json::parse(to_json(example()))["filters"];
  ASSERT_EQ(filters.size(), 4u);
  EXPECT_EQ(filters[0], (json{{"layer", "block1_conv1"},
                              {"filter", 0},
                              {"seed", 18446744073709551615u},
                              {"iterations", 200},
                              {"first_loss", 0.1},
                              {"final_loss", 1.5},
                              {"last_gradient_norm", 1e-5},
                              {"status", "ok"},
                              {"file", "block1_conv1/block1_conv1_f0000.png"}}));
  EXPECT_EQ(filters[1]["status"], "dead");
  EXPECT_EQ(filters[2]["status"], "nonfinite");
  EXPECT_EQ(filters[2]["first_loss"], 1);
  EXPECT_EQ(filters[2]["final_loss"], nullptr);
  EXPECT_EQ(filters[2]["last_gradient_norm"], nullptr);
  EXPECT_EQ(filters[3]["layer"], "block1_conv2");
  EXPECT_EQ(filters[3]["status"], "missing");
  for (const char* unknown : {"iterations", "first_loss", "final_loss", "last_gradient_norm", "file"})
    EXPECT_EQ(filters[3][unknown], nullptr) << unknown;
}

TEST(Manifest, HasOneFilterToALine) {
  const std::string text = to_json(example());
  EXPECT_THAT(text,
              HasSubstr("\n    {\"layer\": \"block1_conv1\", \"filter\": 0, \"seed\": 18446744073709551615, "
                        "\"iterations\": 200, \"first_loss\": 0.1, \"final_loss\": 1.5, "
                        "\"last_gradient_norm\": 1e-05, \"status\": \"ok\", "
                        "\"file\": \"block1_conv1/block1_conv1_f0000.png\"},\n"
                        "    {\"layer\": \"block1_conv1\", \"filter\": 1,"));
  EXPECT_THAT(text, testing::StartsWith("{\n  \"program\": \"filterscope\",\n  \"version\""));
  EXPECT_THAT(
      text, HasSubstr("\n  \"raw\": [\n    {\"layer\": \"block1_conv1\", \"file\": \"raw/block1_conv1.npy\", "
                      "\"filters\": [0, 1, 2]}\n  ]\n}\n"));
}

TEST(Manifest, KnowsLittleBeforeTheRun) {
  Manifest manifest = example();
  manifest.engine.reset();
  manifest.wall_seconds.reset();
  manifest.filters.clear();
  manifest.raw.clear();
  const json before = json::parse(to_json(manifest));
  EXPECT_EQ(before["device"], nullptr);
  EXPECT_EQ(before["wall_seconds"], nullptr);
  EXPECT_EQ(before["filters_per_second"], nullptr);
  EXPECT_EQ(before["filters"], json::array());
  EXPECT_FALSE(before.contains("raw"));
}

TEST(Manifest, IsUtf8WhateverTheNames) {
  Manifest manifest = example();
  manifest.command_line = "filterscope --out \xff\xfe\"\n";
  EXPECT_EQ(json::parse(to_json(manifest))["command_line"], "filterscope --out \xef\xbf\xbd\xef\xbf\xbd\"\n");
}

}  // namespace
}  // namespace filterscope
