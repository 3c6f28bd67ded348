#include "host/gallery/gallery.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <regex>
#include <set>

#include "host/gallery/curves.h"
#include "host/gallery/page.h"
#include "host/gallery/pictures.h"
#include "host/gallery/poster.h"
#include "host/store/run_writer.h"
#include "tests/output/files.h"
#include "tests/output/picture_text.h"
#include "tests/support/temporary_folder.h"

namespace filterscope {
namespace {

using nlohmann::json;
using testing::AllOf;
using testing::Each;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;
using testing::SizeIs;
using testing::StartsWith;

constexpr Extent kExtent{16, 24};  ///< Not square, so that height and width cannot be confused.
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

using Rgb = std::array<std::uint8_t, 3>;

Picture uniform(Extent extent, Rgb colour) {
  Picture picture{extent, {}};
  for (std::int64_t i = 0; i < extent.positions(); ++i)
    picture.pixels.insert(picture.pixels.end(), colour.begin(), colour.end());
  return picture;
}

/// A colour that only this filter has.
Rgb colour_of(FilterId id) {
  return {static_cast<std::uint8_t>(40 + id.filter % 16 * 12),
          static_cast<std::uint8_t>(40 + id.filter / 16 * 12), static_cast<std::uint8_t>(40 + id.layer * 12)};
}

std::map<Rgb, int> colours_in(const Picture& picture) {
  std::map<Rgb, int> counts;
  for (std::size_t i = 0; i < picture.pixels.size(); i += 3)
    ++counts[{picture.pixels[i], picture.pixels[i + 1], picture.pixels[i + 2]}];
  return counts;
}

class GalleryTest : public testing::Test {
 protected:
  GalleryTest() {
    weights_.name = "synthetic:0";
    options_.extent = kExtent;
    options_.seed = 18'446'744'073'709'551'615u;
    recipe_.iterations = 30;
  }

  FilterResult result_of(FilterId id) const {
    FilterResult result;
    result.id = id;
    result.status = status_.contains(id) ? status_.at(id) : FilterStatus::ok;
    result.iterations = result.status == FilterStatus::dead ? 0 : 30;
    result.first_loss = result.status == FilterStatus::dead ? 0.f : static_cast<float>(id.filter) + 0.5f;
    result.final_loss = result.status == FilterStatus::nonfinite ? kNaN : 3 * result.first_loss;
    result.gradient_norm = 0.25f;
    if (result.status == FilterStatus::rescued) {
      result.rescued_iterations = 12;
      result.alive_from = 14;
    }
    if (result.iterations > 0) result.trace = {{10, 1.5f * result.first_loss}, {20, 2 * result.first_loss}};
    result.picture = uniform(options_.extent, colour_of(id)).pixels;
    return result;
  }

  /// The files of a run that finished all of `selection` but `missing`.
  void render(const std::vector<FilterId>& selection, const std::set<FilterId>& missing = {}) const {
    Manifest run = describe_run(vgg16(), weights_, recipe_, options_, engine_);
    run.command_lines = {command_line_};
    run.init = init_;
    RunWriter writer(out_, std::move(run), selection, {.force = true});
    for (const FilterId id : selection)
      if (!missing.contains(id)) writer.add(result_of(id), engine_);
    writer.finish(1);
  }

  StoredRun stored() const { return read_records(out_, vgg16()).value(); }

  /// The data of the page in `folder`.
  static json page_data(const std::filesystem::path& folder) {
    const std::string page = read_text(folder / "index.html");
    const std::string begin = "<script id=\"data\" type=\"application/json\">";
    const std::size_t from = page.find(begin) + begin.size();
    return json::parse(page.substr(from, page.find("</script>", from) - from));
  }

  static std::vector<float> decode(const std::string& base64) {
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

  const TemporaryFolder folder_;
  const std::filesystem::path out_ = folder_ / "a run, 100 % #1";
  std::string command_line_ = "filterscope render";
  RenderOptions options_;
  std::optional<InitRecord> init_;
  EngineDescription engine_{.device = "cpu", .device_name = "test", .libraries = {}, .plans = {}};
  Weights weights_;
  Recipe recipe_ = find_recipe("seed");
  std::map<FilterId, FilterStatus> status_;
};

// --- Colours ---

TEST(PictureColours, HueOfPureColours) {
  EXPECT_FLOAT_EQ(colours_of(uniform(kExtent, {255, 0, 0})).hue, 0);
  EXPECT_FLOAT_EQ(colours_of(uniform(kExtent, {255, 255, 0})).hue, 60);
  EXPECT_FLOAT_EQ(colours_of(uniform(kExtent, {0, 255, 0})).hue, 120);
  EXPECT_FLOAT_EQ(colours_of(uniform(kExtent, {0, 255, 255})).hue, 180);
  EXPECT_FLOAT_EQ(colours_of(uniform(kExtent, {0, 0, 255})).hue, 240);
  EXPECT_FLOAT_EQ(colours_of(uniform(kExtent, {255, 0, 255})).hue, 300);
  EXPECT_FLOAT_EQ(colours_of(uniform(kExtent, {0, 0, 255})).chroma, 1);
  EXPECT_NEAR(colours_of(uniform(kExtent, {90, 90, 90})).chroma, 0, 1e-6);
}

TEST(PictureColours, OppositeColoursCancelAndContrastRemains) {
  Picture picture = uniform(kExtent, {255, 255, 255});
  std::fill(picture.pixels.begin(), picture.pixels.begin() + picture.extent.positions() * 3 / 2, 0);
  EXPECT_NEAR(colours_of(picture).contrast, 0.5, 1e-6);
  EXPECT_NEAR(colours_of(picture).chroma, 0, 1e-6);
  EXPECT_NEAR(colours_of(uniform(kExtent, {12, 200, 90})).contrast, 0, 1e-6);
  // Half red, half cyan: grey as a whole.
  for (std::size_t i = 0; i < picture.pixels.size(); i += 3)
    for (std::size_t c = 0; c < 3; ++c) picture.pixels[i + c] = (i % 2 == 0) == (c == 0) ? 255 : 0;
  EXPECT_NEAR(colours_of(picture).chroma, 0, 1e-6);
}

// --- Reading the pictures ---

TEST_F(GalleryTest, AtlasesHoldEveryPictureInItsPlace) {
  std::vector<FilterId> selection{{0, 3}};
  for (int filter = 0; filter < 75; ++filter) selection.push_back({5, 2 * filter});
  render(selection);
  const PictureSurvey survey = survey_pictures(stored(), out_, "small");
  EXPECT_EQ(survey.thumbnail, kExtent);
  ASSERT_EQ(survey.layers.size(), 2u);
  EXPECT_THAT(survey.layers[0].files, ElementsAre("small/block1_conv1_0.jpg"));
  EXPECT_THAT(survey.layers[1].files, ElementsAre("small/block3_conv2_0.jpg", "small/block3_conv2_1.jpg"));
  EXPECT_EQ(survey.layers[1].first, 1u);
  EXPECT_EQ(survey.layers[1].count, 75u);

  for (std::size_t row = 0; row < selection.size(); ++row) {
    EXPECT_EQ(survey.pictures[row].state, PictureState::there);
    const std::size_t in_layer = row == 0 ? 0 : row - 1;
    const Picture atlas =
        decode_jpeg(out_ / survey.layers[row == 0 ? 0 : 1].files[in_layer / kAtlasPictures]);
    const int count = row == 0 ? 1 : in_layer < kAtlasPictures ? kAtlasPictures : 75 - kAtlasPictures;
    ASSERT_EQ(atlas.extent, (Extent{(count + 7) / 8 * kExtent.height, 8 * kExtent.width}));
    const int place = static_cast<int>(in_layer) % kAtlasPictures;
    const int y = place / 8 * kExtent.height + kExtent.height / 2;
    const int x = place % 8 * kExtent.width + kExtent.width / 2;
    for (std::size_t c = 0; c < 3; ++c)  // JPEG keeps a uniform colour within a few steps of quantisation.
      EXPECT_NEAR(atlas.pixels[static_cast<std::size_t>(y * atlas.extent.width + x) * 3 + c],
                  colour_of(selection[row])[c], 8)
          << row;
  }
}

TEST_F(GalleryTest, LargePicturesAreReducedInAtlases) {
  options_.extent = {300, 300};
  const std::filesystem::path file = out_ / "block1_conv1/block1_conv1_f0000.png";
  render({{0, 0}}, {{0, 0}});
  StoredRun run = stored();
  run.manifest.filters[0].status = FilterStatus::ok;
  write_png(file, uniform({300, 300}, {9, 8, 7}).pixels, {300, 300});
  const PictureSurvey survey = survey_pictures(run, out_, "small", 40);
  EXPECT_EQ(survey.thumbnail, (Extent{100, 100}));
  EXPECT_EQ(survey.pictures[0].small.extent, (Extent{38, 38}));  // 300 / 8, rounded up.
}

TEST_F(GalleryTest, TellsPicturesThatAreLostFromThoseNeverMade) {
  render({{0, 0}, {0, 1}, {0, 2}, {0, 3}, {0, 4}}, {{0, 1}});
  std::filesystem::remove(out_ / "block1_conv1/block1_conv1_f0002.png");
  write_text(out_ / "block1_conv1/block1_conv1_f0003.png", "no picture");
  write_png(out_ / "block1_conv1/block1_conv1_f0004.png", uniform({8, 8}, {1, 2, 3}).pixels, {8, 8});
  const PictureSurvey survey = survey_pictures(stored(), out_, "small");
  std::vector<PictureState> states;
  for (const PictureRecord& picture : survey.pictures) states.push_back(picture.state);
  EXPECT_THAT(states, ElementsAre(PictureState::there, PictureState::none, PictureState::missing,
                                  PictureState::damaged, PictureState::damaged));
}

// --- The page ---

TEST_F(GalleryTest, PageHoldsTheRun) {
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
  // Receptive fields of VGG16's layers, as the literature has them.
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
  EXPECT_EQ(run["recipe"]["optimiser"]["step"], 0.1);
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

TEST_F(GalleryTest, PageHoldsTheOptionsThatRenderItAgain) {
  const auto run_data = [&](const std::vector<FilterId>& selection) {
    render(selection);
    write_gallery(out_);
    return page_data(out_)["runs"][0];
  };
  options_.extent = {96, 96};
  options_.seed = 7;
  recipe_ = find_recipe("seed");
  EXPECT_EQ(run_data({{0, 0}})["options"], json({"--weights synthetic:0", "--seed 7", "--device cpu"}));
  EXPECT_EQ(run_data({{0, 0}})["start"], nullptr);
  EXPECT_EQ(run_data({{0, 0}})["recipe"]["rescue"], true);
  recipe_.rescue = false;
  EXPECT_EQ(run_data({{0, 0}})["options"],
            json({"--weights synthetic:0", "--rescue off", "--seed 7", "--device cpu"}));
  recipe_.rescue = true;

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
  recipe_.optimiser.step = 0.25f;
  options_.extent = {40, 40};
  EXPECT_EQ(run_data({{0, 0}})["options"],
            json({"--weights '/data of/it'\\''s.h5'", "--step 0.25", "--size 40", "--seed 7",
                  "--trace-every 3", "--device cuda", "--precision bf16", "--reproducible"}));

  // A start image for each filter.
  const std::vector<FilterId> selection{{0, 0}, {0, 1}, {3, 9}};
  options_ = {};
  options_.extent = {40, 56};
  recipe_ = find_recipe("seed");
  init_ = InitRecord{.file = "/a/each.npy", .sha256 = "0123", .filters = selectors_of(selection, vgg16())};
  const json each = run_data(selection);
  EXPECT_EQ(each["selectors"], "block1_conv1:0-1 block2_conv2:9");
  EXPECT_EQ(each["options"], json({"--weights '/data of/it'\\''s.h5'", "--init /a/each.npy", "--device cuda",
                                   "--precision bf16"}));
  EXPECT_EQ(each["start"], "each.npy");
}

TEST_F(GalleryTest, LongTracesAreThinned) {
  recipe_.iterations = 1000;
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

TEST_F(GalleryTest, ShowsPicturesWhoseTracesAreLost) {
  render({{0, 0}});
  std::filesystem::remove(out_ / "traces.csv");
  EXPECT_THAT(write_gallery(out_).without_traces, ElementsAre(out_));
  EXPECT_EQ(page_data(out_)["runs"][0]["layers"][0]["status"], "o");
  EXPECT_THAT(page_data(out_)["runs"][0]["steps"], SizeIs(2));  // From the first loss to the last.
}

TEST_F(GalleryTest, ShowsWhatAKilledRunHadFinished) {
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

TEST_F(GalleryTest, WritesAllItsFilesAndAgain) {
  render({{0, 0}, {7, 3}});
  const std::vector<std::string> before = files_below(out_);
  write_gallery(out_);
  std::vector<std::string> expected = before;
  for (const char* file : {"index.html", "poster.png", "block1_conv1/curves.svg", "block4_conv1/curves.svg",
                           "gallery/block1_conv1_0.jpg", "gallery/block4_conv1_0.jpg"})
    expected.emplace_back(file);
  std::ranges::sort(expected);
  EXPECT_EQ(files_below(out_), expected);
  for (const std::string& file : before) EXPECT_NE(file, "index.html");
  write_gallery(out_);
  EXPECT_EQ(files_below(out_), expected);
}

TEST_F(GalleryTest, ComparesTwoRunsByRelativePaths) {
  render({{0, 0}, {0, 1}});
  std::filesystem::rename(out_, folder_ / "first");
  options_.seed = 7;
  render({{0, 1}, {3, 2}});
  const std::filesystem::path page = folder_ / "pages" / "both";
  EXPECT_EQ(write_comparison(folder_ / "first", out_, page).filters, 4);
  const json data = page_data(page);
  ASSERT_THAT(data["runs"], SizeIs(2));
  EXPECT_EQ(data["runs"][0]["folder"], "../../first/");
  EXPECT_EQ(data["runs"][1]["folder"], "../../a%20run%2C%20100%20%25%20%231/");
  EXPECT_EQ(data["runs"][1]["name"], "a run, 100 % #1");
  EXPECT_EQ(data["runs"][1]["seed"], "7");
  for (const json& run : data["runs"])
    for (const json& layer : run["layers"])
      for (const std::string file : layer["atlases"])
        EXPECT_TRUE(std::filesystem::exists(page / file)) << file;
  EXPECT_THAT(files_below(page), SizeIs(4));  // index.html and three atlases.
  // A page in the folder of one of the runs.
  write_comparison(folder_ / "first", out_, out_);
  EXPECT_EQ(page_data(out_)["runs"][1]["folder"], "./");
  EXPECT_EQ(page_data(out_)["runs"][1]["name"], "a run, 100 % #1");
}

// --- What is wrong with a folder ---

TEST_F(GalleryTest, NamesWhatCannotBeRead) {
  EXPECT_THAT(error_of(ErrorKind::input, [&] { write_gallery(folder_ / "nowhere"); }),
              HasSubstr("nowhere: expected a folder that `filterscope render` wrote, found nothing of"));
  render({{0, 0}});
  const std::string manifest = read_text(out_ / "manifest.json");
  const std::string old_page = "of the last time";
  write_text(out_ / "index.html", old_page);
  for (const std::string& damaged :
       {std::string(), std::string("no JSON"), manifest.substr(0, manifest.size() / 2), std::string("{}"),
        std::regex_replace(manifest, std::regex("\"vgg16\""), "\"alexnet\""),
        std::regex_replace(manifest, std::regex("block1_conv1\""), "block9_conv1\""),
        std::regex_replace(manifest, std::regex("\"status\": \"ok\""), "\"status\": \"fine\"")}) {
    write_text(out_ / "manifest.json", damaged);
    EXPECT_THAT(error_of(ErrorKind::input, [&] { write_gallery(out_); }), HasSubstr("manifest.json"));
  }
  write_text(out_ / "manifest.json", manifest);
  write_text(out_ / "traces.csv", "layer,filter,iteration,loss\nblock1_conv1,0,x,1\n");
  EXPECT_THAT(error_of(ErrorKind::input, [&] { write_gallery(out_); }), HasSubstr("traces.csv"));
  EXPECT_EQ(read_text(out_ / "index.html"), old_page);
}

TEST_F(GalleryTest, KeepsTheOldPageWhenTheNewOneCannotBeWritten) {
  render({{0, 0}});
  write_gallery(out_);
  const std::string page = read_text(out_ / "index.html");
  const std::vector<std::string> files = files_below(out_);
  {
    const FullDisk full(20000);  // More than the atlas takes, less than the page.
    EXPECT_THAT(error_of(ErrorKind::output, [&] { write_gallery(out_); }), HasSubstr("`ulimit -f`"));
  }
  EXPECT_EQ(read_text(out_ / "index.html"), page);
  EXPECT_EQ(files_below(out_), files);

  std::filesystem::remove_all(out_ / "gallery");
  write_text(out_ / "gallery", "in the way");
  EXPECT_THAT(error_of(ErrorKind::output, [&] { write_gallery(out_); }), HasSubstr("gallery"));
}

// --- Curves and poster ---

TEST_F(GalleryTest, CurvesOfALayer) {
  status_ = {
      {{2, 1}, FilterStatus::dead}, {{2, 2}, FilterStatus::nonfinite}, {{2, 7}, FilterStatus::rescued}};
  weights_.name = "a<b>&c.h5";
  weights_.kind = WeightsKind::keras_hdf5;
  std::vector<FilterId> selection;
  for (int filter = 0; filter < 10; ++filter) selection.push_back({2, filter});
  render(selection, {{2, 9}});
  const StoredRun run = stored();
  const std::string svg = draw_curves(run, 0, 10);
  const auto count = [&](const std::string& text) {
    std::ptrdiff_t found = 0;
    for (std::size_t at = svg.find(text); at != std::string::npos; at = svg.find(text, at + 1)) ++found;
    return found;
  };
  EXPECT_EQ(count("<title>"), 9);
  EXPECT_EQ(count("class=\"dead\""), 1);
  EXPECT_EQ(count("class=\"median\""), 1);
  EXPECT_EQ(count("class=\"name\""), 3);
  EXPECT_THAT(svg,
              AllOf(HasSubstr("10 filters, 1 rescued, 1 dead (red), 1 missing"),
                    HasSubstr("a&lt;b&gt;&amp;c.h5"), HasSubstr(">8 (25.5)<"), HasSubstr(">7 (22.5)<"),
                    HasSubstr(">6 (19.5)<"), Not(HasSubstr("nan")), Not(HasSubstr("Synthetic weights"))));
  EXPECT_EQ(count("<"), count(">"));
}

TEST_F(GalleryTest, LossCurveRunsFromTheFirstToTheFinalLoss) {
  render({{0, 2}, {0, 3}}, {{0, 3}});
  const StoredRun run = stored();
  std::vector<std::pair<int, float>> points;
  for (const CurvePoint& point : loss_curve(run, 0)) points.emplace_back(point.steps, point.loss);
  EXPECT_THAT(points,
              ElementsAre(std::pair(0, 2.5f), std::pair(9, 3.75f), std::pair(19, 5.f), std::pair(30, 7.5f)));
  EXPECT_THAT(loss_curve(run, 1), SizeIs(0));
}

TEST_F(GalleryTest, PosterHoldsEveryPicture) {
  status_ = {{{4, 20}, FilterStatus::dead}, {{4, 21}, FilterStatus::rescued}};
  std::vector<FilterId> selection;
  for (const int layer : {0, 4})
    for (int filter = 0; filter < 40; ++filter) selection.push_back({layer, filter});
  render(selection, {{4, 39}});
  const StoredRun run = stored();
  ASSERT_EQ(poster_tile(run), 32);
  const PictureSurvey survey = survey_pictures(run, out_, "small", 32);
  const Picture poster = draw_poster(run, survey);
  const std::map<Rgb, int> colours = colours_in(poster);
  const auto area = [&](Rgb colour) { return colours.contains(colour) ? colours.at(colour) : 0; };
  for (const FilterId id : selection) {
    const int expected = id == FilterId{4, 39} ? 0 : static_cast<int>(kExtent.positions());
    if (id == FilterId{4, 20})
      EXPECT_LT(area(colour_of(id)), expected);  // The mark of dead ones lies over it.
    else if (id == FilterId{4, 21})              // That of rescued ones over a corner.
      EXPECT_EQ(area(colour_of(id)) + area({122, 170, 214}), expected);
    else
      EXPECT_EQ(area(colour_of(id)), expected) << id.layer << ' ' << id.filter;
  }
  EXPECT_GT(area({240, 82, 74}), 2 * (kExtent.height + kExtent.width));
  EXPECT_GT(area({122, 170, 214}), 3);
  EXPECT_GT(area({245, 180, 60}), 10000);  // The label of stand-in weights.
  EXPECT_EQ(area({34, 36, 40}), kExtent.positions());

  // Of few filters, larger ones.
  render({{0, 0}, {0, 1}});
  EXPECT_EQ(poster_tile(stored()), 128);
}

TEST_F(GalleryTest, PosterAndCurvesTellHowThePicturesWereMade) {
  const auto poster = [&] {
    const StoredRun run = stored();
    return draw_poster(run, survey_pictures(run, out_, "small", poster_tile(run)));
  };
  options_.seed = 7;
  recipe_.iterations = 1;
  render({{0, 0}});
  // In lines as wide as the poster.
  for (const char* part : {"1 filter,", "1 iteration,", "24 x 16", "seed 7,"})
    EXPECT_TRUE(holds_text(poster(), part)) << part;
  EXPECT_THAT(draw_curves(stored(), 0, 1), HasSubstr("1 filter; "));

  init_ = InitRecord{.file = "/home/someone/photo.npy", .sha256 = "0123", .filters = ""};
  render({{0, 0}, {0, 1}});
  EXPECT_TRUE(holds_text(poster(), "photo.npy,"));
  EXPECT_FALSE(holds_text(poster(), "seed 7"));
  EXPECT_TRUE(holds_text(read_png(out_ / "block1_conv1/sheet.png").value(), "photo.npy,"));
  EXPECT_THAT(draw_curves(stored(), 0, 2),
              HasSubstr("recipe seed, 1 iteration, 24 x 16 pixels, started from photo.npy"));
}

}  // namespace
}  // namespace filterscope
