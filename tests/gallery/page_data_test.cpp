#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <string>
#include <vector>

#include "gallery_fixture.h"
#include "host/gallery/curves.h"
#include "host/gallery/page.h"
#include "host/gallery/pictures.h"

namespace filterscope {
namespace {

using testing::ElementsAre;
using testing::SizeIs;
using testing::StartsWith;

std::vector<float> decode(const std::string& base64) {
  static const std::string digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string bytes;
  unsigned bits = 0, held = 0;
  for (const char character : base64) {
    if (character == '=') break;
    bits = bits << 6 | static_cast<unsigned>(digits.find(character));
    held += 6;
    if (held < 8) continue;
    held -= 8;
    bytes += static_cast<char>(bits >> held & 0xff);
  }
  std::vector<float> values(bytes.size() / sizeof(float));
  std::memcpy(values.data(), bytes.data(), values.size() * sizeof(float));
  return values;
}

class PageTest : public GalleryFixture {};

TEST_F(PageTest, HoldsTheRun) {
  status_ = {
      {{12, 1}, FilterStatus::dead}, {{12, 2}, FilterStatus::nonfinite}, {{12, 3}, FilterStatus::rescued}};
  command_line_ = "filterscope </script><!-- \" \xff";
  render({{1, 7}, {12, 0}, {12, 1}, {12, 2}, {12, 3}, {12, 511}}, {{12, 511}});
  std::filesystem::remove(out_ / "block1_conv2/block1_conv2_f0007.png");
  const GalleryCounts counts = write_gallery(out_);
  EXPECT_EQ(counts.filters, 6);
  EXPECT_EQ(counts.missing_pictures, 1);

  const json data = page_data(out_);
  EXPECT_EQ(data["format"], 1);
  ASSERT_THAT(data["network"]["layers"], SizeIs(13));
  EXPECT_EQ(data["network"]["name"], "vgg16");
  // The receptive fields of VGG16's layers, as in the literature.
  std::vector<int> fields;
  for (const json& layer : data["network"]["layers"]) fields.push_back(layer["field"]);
  EXPECT_THAT(fields, ElementsAre(3, 5, 10, 14, 24, 32, 40, 60, 76, 92, 132, 164, 196));

  ASSERT_THAT(data["runs"], SizeIs(1));
  const json& run = data["runs"][0];
  EXPECT_EQ(run["folder"], "");
  EXPECT_EQ(run["synthetic"], true);
  EXPECT_EQ(run["complete"], false);
  EXPECT_EQ(run["seed"], "18446744073709551615");
  EXPECT_EQ(run["height"], 16);
  EXPECT_EQ(run["width"], 24);
  EXPECT_EQ(run["recipe"]["stages"][0]["optimiser"]["step"], 0.1);
  EXPECT_THAT(run["commands"][0].get<std::string>(), StartsWith("filterscope </script><!-- \""));
  EXPECT_EQ(run["thumbnail"], (json{{"width", 24}, {"height", 16}, {"columns", 8}, {"pictures", 64}}));
  EXPECT_EQ(run["steps"], (json{0, 9, 19, 30}));

  ASSERT_THAT(run["layers"], SizeIs(2));
  EXPECT_EQ(run["layers"][0]["layer"], 1);
  EXPECT_EQ(run["layers"][0]["map"], (json{16, 24}));
  EXPECT_EQ(run["layers"][0]["pictures"], "m");
  EXPECT_EQ(run["layers"][0]["hue"], json{nullptr});
  const json& layer = run["layers"][1];
  EXPECT_EQ(layer["map"], (json{1, 1}));
  EXPECT_EQ(layer["numbers"], (json{0, 1, 2, 3, 511}));
  EXPECT_EQ(layer["status"], "odnr-");
  EXPECT_EQ(layer["pictures"], "tttt-");
  EXPECT_EQ(layer["files"][4], "block5_conv3/block5_conv3_f0511.png");
  EXPECT_EQ(layer["animations"], (json{"", "", "", "", ""}));
  EXPECT_EQ(layer["iterations"], (json{30, 0, 30, 30, 0}));
  EXPECT_EQ(layer["rescued"], (json{0, 0, 0, 12, 0}));
  EXPECT_EQ(layer["alive"], (json{0, 0, 0, 14, 0}));
  EXPECT_EQ(layer["first"], (json{0.5, 0.0, 2.5, 3.5, nullptr}));
  EXPECT_EQ(layer["final"], (json{1.5, 0.0, nullptr, 10.5, nullptr}));
  EXPECT_EQ(layer["gradient"], (json{0.25, 0.25, 0.25, 0.25, nullptr}));
  EXPECT_EQ(layer["hue"][0], std::round(colours_of(uniform(kExtent, colour_of({12, 0}))).hue));

  const std::vector<float> curves = decode(layer["curves"]);
  const std::vector<float> expected{.5f, .75f, 1,    1.5f,  0, kNaN,  kNaN, kNaN, 2.5f, 3.75f,
                                    5,   kNaN, 3.5f, 5.25f, 7, 10.5f, kNaN, kNaN, kNaN, kNaN};
  ASSERT_EQ(curves.size(), expected.size());
  for (std::size_t i = 0; i < expected.size(); ++i)
    EXPECT_TRUE(curves[i] == expected[i] || (std::isnan(curves[i]) && std::isnan(expected[i]))) << i;
}

TEST_F(PageTest, HoldsTheOptionsThatRenderItAgain) {
  const auto run_data = [&](const std::vector<FilterId>& selection) {
    render(selection);
    write_gallery(out_);
    return page_data(out_)["runs"][0];
  };
  options_.seed = 7;
  recipe_ = find_recipe("seed");
  EXPECT_EQ(run_data({{0, 0}})["options"], json({"--weights synthetic:0", "--seed 7", "--device cpu"}));
  EXPECT_EQ(run_data({{0, 0}})["start"], nullptr);
  EXPECT_EQ(run_data({{0, 0}})["rescue"], true);
  recipe_.stages.front().objective.rescue = false;
  EXPECT_EQ(run_data({{0, 0}})["rescue"], false);
  EXPECT_EQ(run_data({{0, 0}})["options"],
            json({"--weights synthetic:0", "--rescue off", "--seed 7", "--device cpu"}));
  recipe_.stages.front().objective.rescue = true;

  engine_ = {
      .device = "cuda:1", .device_name = "t", .precision = Precision::fp16, .libraries = {}, .plans = {}};
  weights_.name = "it's.h5";
  weights_.path = "/data of/it's.h5";
  weights_.kind = WeightsKind::keras_hdf5;
  EXPECT_EQ(run_data({{0, 0}})["options"],
            json({"--weights '/data of/it'\\''s.h5'", "--seed 7", "--device cuda"}));
  engine_.precision = Precision::bf16;
  options_.reproducible = true;
  options_.trace_every = 3;
  recipe_.stages.front().optimiser.step = 0.25f;
  recipe_.stages.front().extent = {40, 40};
  EXPECT_EQ(run_data({{0, 0}})["options"],
            json({"--weights '/data of/it'\\''s.h5'", "--step 0.25", "--size 40", "--seed 7",
                  "--trace-every 3", "--device cuda", "--precision bf16", "--reproducible"}));

  // With one start image per filter.
  const std::vector<FilterId> selection{{0, 0}, {0, 1}, {3, 9}};
  options_ = {};
  recipe_ = find_recipe("seed");
  recipe_.stages.front().extent = {40, 56};
  init_ = InitRecord{.file = "/a/each.npy", .sha256 = "0123", .filters = selectors_of(selection, vgg16())};
  const json each = run_data(selection);
  EXPECT_EQ(each["selectors"], "block1_conv1:0-1 block2_conv2:9");
  EXPECT_EQ(each["options"], json({"--weights '/data of/it'\\''s.h5'", "--init /a/each.npy", "--device cuda",
                                   "--precision bf16"}));
  EXPECT_EQ(each["start"], "each.npy");
}

TEST_F(PageTest, HoldsTheOptionsThatMakeItsRecipe) {
  weights_.natural_input = keras_mapping();
  options_.seed = 7;
  const auto options_of = [&](Recipe recipe) {
    recipe_ = with_input_of(std::move(recipe), weights_);
    render({{0, 0}});
    write_gallery(out_);
    std::vector<std::string> options = page_data(out_)["runs"][0]["options"];
    return std::vector<std::string>(options.begin() + 1,
                                    options.end() - 2);  // Without weights, seed, device.
  };
  EXPECT_THAT(options_of(find_recipe("lucid")), ElementsAre("--recipe lucid"));
  EXPECT_THAT(options_of(with_extent(with_iterations(find_recipe("keras2019"), 90), {172, 172})),
              ElementsAre("--recipe keras2019", "--iterations 90", "--size 172"));
  Recipe other = find_recipe("fg91");
  for (Stage& stage : other.stages) stage.optimiser.step = 0.25f;
  other.stages[2].input_mapping = identity_mapping();
  other.stages[3].regularisers = {{Regulariser::Kind::lp_norm, 2, 6}};
  other.picture.crop = 3;
  EXPECT_THAT(
      options_of(other),
      ElementsAre("--recipe fg91", "--step 0.25", "--set picture.crop=3",
                  "--set 'stages.2.input_mapping=\"identity\"'",
                  "--set 'stages.3.regularisers=[{\"kind\": \"lp_norm\", \"weight\": 2, \"power\": 6}]'"));
  other.name = "mine";
  EXPECT_THAT(options_of(other), ElementsAre("--recipe manifest.json"));
}

TEST_F(PageTest, LongTracesAreThinned) {
  recipe_.stages.front().iterations = 1000;
  render({{0, 0}}, {{0, 0}});
  StoredRun run = stored();
  run.manifest.filters[0].status = FilterStatus::ok;
  run.manifest.filters[0].iterations = 1000;
  for (int iteration = 1; iteration <= 1000; ++iteration)
    run.traces[0].push_back({iteration, static_cast<float>(iteration)});
  const PictureSurvey survey{.thumbnail = kExtent,
                             .pictures = {PictureRecord{}},
                             .layers = {{.layer = 0, .first = 0, .count = 1, .files = {}}}};
  const std::array pages{PageRun{.run = run, .survey = survey, .folder = ""}};
  write_text(out_ / "index.html", build_page(pages));
  const json steps = page_data(out_)["runs"][0]["steps"];
  EXPECT_EQ(steps.size(), kCurvePoints);
  EXPECT_EQ(steps.front(), 0);
  EXPECT_EQ(steps.back(), 1000);
  EXPECT_TRUE(std::ranges::is_sorted(steps));
}

TEST_F(PageTest, ShowsPicturesWhoseTracesAreLost) {
  render({{0, 0}});
  std::filesystem::remove(out_ / "traces.csv");
  EXPECT_THAT(write_gallery(out_).without_traces, ElementsAre(out_));
  EXPECT_EQ(page_data(out_)["runs"][0]["layers"][0]["status"], "o");
  EXPECT_THAT(page_data(out_)["runs"][0]["steps"], SizeIs(2));  // From the first loss to the last.
}

TEST_F(PageTest, ShowsWhatAKilledRunHadFinished) {
  const EngineDescription engine{.device = "cpu", .device_name = "test", .libraries = {}, .plans = {}};
  {
    RunWriter writer(out_, describe_run(vgg16(), weights_, recipe_, options_, engine), {{0, 0}, {0, 1}}, {});
    writer.add(result_of({0, 1}), engine);
    while (read_text(out_ / "journal.jsonl").find("\"filter\"") == std::string::npos) {
    }
  }
  write_gallery(out_);
  EXPECT_EQ(page_data(out_)["runs"][0]["layers"][0]["status"], "-o");
  EXPECT_EQ(page_data(out_)["runs"][0]["layers"][0]["pictures"], "-t");
}

}  // namespace
}  // namespace filterscope
