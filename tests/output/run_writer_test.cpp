#include "host/output/run_writer.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <limits>
#include <nlohmann/json.hpp>
#include <random>
#include <regex>
#include <sstream>
#include <stdexcept>
#include <thread>

#include "files.h"
#include "host/output/apng.h"
#include "host/output/npy.h"
#include "tests/support/temporary_folder.h"

namespace filterscope {
namespace {

using nlohmann::json;
using testing::AllOf;
using testing::Contains;
using testing::ElementsAre;
using testing::EndsWith;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using testing::SizeIs;

constexpr Extent kExtent{20, 24};

/// What an engine would give for a filter: values that only this filter has.
FilterResult result_of(FilterId id, bool with_image = false, int frame_every = 0) {
  FilterResult result;
  result.id = id;
  const int key = id.layer * 600 + id.filter;
  result.iterations = 4;
  result.first_loss = static_cast<float>(key) / 8;
  result.final_loss = result.first_loss + 1;
  result.gradient_norm = 0.5f;
  result.trace = {{2, static_cast<float>(key) / 3}, {4, static_cast<float>(key)}};
  for (std::int64_t i = 0; i < kExtent.positions() * 3; ++i) {
    result.picture.push_back(static_cast<std::uint8_t>(key * 31 + i));
    if (with_image) result.image.push_back(static_cast<float>(key) + static_cast<float>(i) / 1024);
  }
  result.frame_every = frame_every;
  if (frame_every > 0) {
    const int count = frame_count(result.iterations, frame_every);
    for (int frame = 1; frame < count; ++frame)
      result.frames.emplace_back(result.picture.size(), static_cast<std::uint8_t>(key + frame));
    result.frames.push_back(result.picture);
  }
  return result;
}

class RunWriterTest : public testing::Test {
 protected:
  RunWriterTest() {
    options_.extent = kExtent;
    options_.seed = 5;
    weights_.name = "synthetic:0";
    recipe_.iterations = 4;
  }

  RunWriter writer(std::vector<FilterId> selection, const std::filesystem::path& folder) const {
    Manifest run = describe_run(vgg16(), weights_, recipe_, options_, engine_);
    run.command_lines = {"filterscope render"};
    return {folder,
            std::move(run),
            std::move(selection),
            {.keep_images = options_.keep_images,
             .frame_every = options_.frame_every,
             .force = force_,
             .processors_free = processors_free_}};
  }
  RunWriter writer(std::vector<FilterId> selection) const { return writer(std::move(selection), out_); }

  /// A whole run. Returns what it had to render.
  std::vector<FilterId> render(std::vector<FilterId> selection, const std::filesystem::path& folder) const {
    RunWriter run = writer(std::move(selection), folder);
    for (const FilterId id : run.remaining())
      run.add(result_of(id, options_.keep_images, options_.frame_every), engine_);
    run.finish(kSeconds);
    EXPECT_EQ(run.counts().missing, 0);
    return run.remaining();
  }
  std::vector<FilterId> render(std::vector<FilterId> selection) const {
    return render(std::move(selection), out_);
  }
  /// As a process that is killed once these are in the journal.
  void render_and_die(const std::vector<FilterId>& selection, const std::vector<FilterId>& finished) const {
    RunWriter run = writer(selection);
    for (const FilterId id : finished)
      run.add(result_of(id, options_.keep_images, options_.frame_every), engine_);
    wait_for([&] { return filters_in_journal() == std::ssize(finished); });
  }
  std::ptrdiff_t filters_in_journal() const {
    std::istringstream lines(read_text(out_ / "journal.jsonl"));
    std::ptrdiff_t count = 0;
    for (std::string line; std::getline(lines, line);) count += line.starts_with("{\"filter\"") ? 1 : 0;
    return count;
  }
  static void wait_for(const std::function<bool()>& condition) {
    for (int i = 0; i < 1000 && !condition(); ++i) std::this_thread::sleep_for(std::chrono::milliseconds(10));
    EXPECT_TRUE(condition());
  }
  /// Expects in out_ what one uninterrupted run leaves, but for times.
  void expect_as_uninterrupted(const std::vector<FilterId>& selection) const {
    const std::filesystem::path reference = folder_ / "reference";
    std::filesystem::remove_all(reference);
    render(selection, reference);
    const std::vector<std::string> files = files_below(reference);
    ASSERT_EQ(files_below(out_), files);
    for (const std::string& file : files) {
      if (file == "manifest.json") continue;
      EXPECT_EQ(read_text(out_ / file), read_text(reference / file)) << file;
    }
    EXPECT_EQ(without_times(out_), without_times(reference));
  }
  static json without_times(const std::filesystem::path& folder) {
    json manifest = json::parse(read_text(folder / "manifest.json"));
    for (const char* time : {"started", "wall_seconds", "phases", "filters_per_second"}) manifest.erase(time);
    return manifest;
  }

  json manifest() const { return json::parse(read_text(out_ / "manifest.json")); }
  std::vector<std::string> statuses() const {
    std::vector<std::string> all;
    const json all_of_run = manifest();
    for (const json& record : all_of_run["filters"]) all.push_back(record["status"]);
    return all;
  }

  const TemporaryFolder folder_;
  const std::filesystem::path out_ = folder_ / "deep" / "out";
  RenderOptions options_;
  Weights weights_;
  Recipe recipe_ = find_recipe("seed");
  EngineDescription engine_{.device = "cpu",
                            .device_name = "Some CPU",
                            .precision = Precision::fp32,
                            .threads = 2,
                            .libraries = {{"CUDA", "13.0.88"}},
                            .plans = {"a plan"}};
  bool force_ = false;
  bool processors_free_ = false;
  static constexpr double kSeconds = 2;
  const std::vector<FilterId> selection_{{0, 3}, {0, 63}, {8, 0}, {8, 1}, {8, 511}};
};

TEST_F(RunWriterTest, WritesTheSameWithAsManyThreadsAsThereAre) {
  options_.keep_images = true;
  std::vector<FilterId> selection;
  for (int filter = 0; filter < 40; ++filter) selection.push_back({filter / 20, filter});
  render(selection, folder_ / "few");
  processors_free_ = true;
  render(selection, folder_ / "many");
  const auto files = files_below(folder_ / "few");
  EXPECT_EQ(files_below(folder_ / "many"), files);
  for (const auto& file : files) {
    if (file == "manifest.json") continue;  // Holds times.
    EXPECT_EQ(read_text(folder_ / "many" / file), read_text(folder_ / "few" / file)) << file;
  }
}

TEST_F(RunWriterTest, WritesARun) {
  options_.keep_images = true;
  RunWriter run = writer(selection_);
  for (const FilterId id : selection_) run.add(result_of(id, true), engine_);
  run.finish(kSeconds);

  EXPECT_THAT(files_below(out_),
              ElementsAre("block1_conv1/block1_conv1_f0003.png", "block1_conv1/block1_conv1_f0063.png",
                          "block1_conv1/sheet.png", "block4_conv2/block4_conv2_f0000.png",
                          "block4_conv2/block4_conv2_f0001.png", "block4_conv2/block4_conv2_f0511.png",
                          "block4_conv2/sheet.png", "manifest.json", "raw/block1_conv1.npy",
                          "raw/block4_conv2.npy", "traces.csv"));
  const Picture picture = decode_png(out_ / "block4_conv2/block4_conv2_f0511.png");
  EXPECT_EQ(picture.extent, kExtent);
  EXPECT_EQ(picture.pixels, result_of({8, 511}).picture);
  EXPECT_EQ(read_text(out_ / "traces.csv"),
            "layer,filter,iteration,loss\n"
            "block1_conv1,3,2,1\nblock1_conv1,3,4,3\n"
            "block1_conv1,63,2,21\nblock1_conv1,63,4,63\n"
            "block4_conv2,0,2,1600\nblock4_conv2,0,4,4800\n"
            "block4_conv2,1,2,1600.33337\nblock4_conv2,1,4,4801\n"
            "block4_conv2,511,2,1770.33337\nblock4_conv2,511,4,5311\n");

  const InitialImages raw = read_initial_images(out_ / "raw/block4_conv2.npy");
  ASSERT_EQ(raw.count, 3);
  EXPECT_EQ(raw.extent, kExtent);
  std::vector<float> expected;
  for (const int filter : {0, 1, 511})
    for (const float value : result_of({8, filter}, true).image) expected.push_back(value);
  EXPECT_EQ(raw.values, expected);

  const json manifest = this->manifest();
  EXPECT_EQ(manifest["complete"], true);
  EXPECT_EQ(manifest["command_lines"], json{"filterscope render"});
  ASSERT_EQ(manifest["engines"].size(), 1u);
  EXPECT_EQ(manifest["engines"][0]["device_name"], "Some CPU");
  EXPECT_EQ(manifest["weights"]["synthetic"], true);
  EXPECT_EQ(manifest["seed"], 5);
  EXPECT_EQ(manifest["trace_every"], 1);
  const double seconds = manifest["wall_seconds"];
  EXPECT_EQ(seconds, 2 + manifest["phases"]["finish"].get<double>());
  EXPECT_NEAR(manifest["filters_per_second"].get<double>(), 5 / seconds, 1e-5);
  ASSERT_EQ(manifest["filters"].size(), 5u);
  EXPECT_EQ(manifest["filters"][3]["layer"], "block4_conv2");
  EXPECT_EQ(manifest["filters"][3]["filter"], 1);
  EXPECT_EQ(manifest["filters"][3]["first_loss"], 4801 / 8.);
  EXPECT_EQ(manifest["filters"][3]["final_loss"], 4801 / 8. + 1);
  EXPECT_EQ(manifest["filters"][3]["last_gradient_norm"], 0.5);
  EXPECT_EQ(manifest["filters"][3]["file"], "block4_conv2/block4_conv2_f0001.png");
  EXPECT_EQ(manifest["raw"],
            (json{{{"layer", "block1_conv1"}, {"file", "raw/block1_conv1.npy"}, {"filters", {3, 63}}},
                  {{"layer", "block4_conv2"}, {"file", "raw/block4_conv2.npy"}, {"filters", {0, 1, 511}}}}));
  EXPECT_EQ(run.counts().ok, 5);
  EXPECT_EQ(run.counts().missing, 0);
}

TEST_F(RunWriterTest, DoesNotDependOnTheOrderOfResults) {
  options_.keep_images = true;
  std::vector<FilterId> selection;
  for (const int layer : {0, 1, 5})
    for (int filter = 0; filter < 64; filter += layer + 1) selection.push_back({layer, filter});
  const std::filesystem::path straight = folder_ / "straight";
  {
    RunWriter run = writer(selection, straight);
    for (const FilterId id : selection) run.add(result_of(id, true), engine_);
    run.finish(kSeconds);
  }
  std::vector<FilterId> shuffled = selection;
  std::ranges::shuffle(shuffled, std::mt19937(3));
  RunWriter run = writer(selection);
  for (const FilterId id : shuffled) run.add(result_of(id, true), engine_);
  run.finish(kSeconds);

  const std::vector<std::string> files = files_below(straight);
  EXPECT_EQ(files.size(), selection.size() + 3 + 3 + 2);
  ASSERT_EQ(files_below(out_), files);
  for (const std::string& file : files) {
    if (file == "manifest.json") continue;  // Says when the run was started.
    EXPECT_EQ(read_text(out_ / file), read_text(straight / file)) << file;
  }
  EXPECT_EQ(manifest()["filters"], json::parse(read_text(straight / "manifest.json"))["filters"]);
  EXPECT_EQ(manifest()["raw"], json::parse(read_text(straight / "manifest.json"))["raw"]);
}

TEST_F(RunWriterTest, WritesTheSheetOfALayerBeforeTheRunIsOver) {
  RunWriter run = writer(selection_);
  run.add(result_of({0, 3}), engine_);
  run.add(result_of({0, 63}), engine_);
  run.add(result_of({8, 0}), engine_);
  for (int i = 0; i < 1000 && !std::filesystem::exists(out_ / "block1_conv1/sheet.png"); ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  EXPECT_GT(decode_png(out_ / "block1_conv1/sheet.png").extent.width, 2 * kExtent.width);
  EXPECT_FALSE(std::filesystem::exists(out_ / "block4_conv2/sheet.png"));
  run.finish(kSeconds);
  EXPECT_TRUE(std::filesystem::exists(out_ / "block4_conv2/sheet.png"));
}

TEST_F(RunWriterTest, KeepsWhatAnInterruptedRunFinished) {
  options_.keep_images = true;
  RunWriter run = writer(selection_);
  run.add(result_of({8, 511}, true), engine_);
  run.add(result_of({8, 0}, true), engine_);
  run.finish(kSeconds);

  EXPECT_THAT(files_below(out_),
              ElementsAre("block4_conv2/block4_conv2_f0000.png", "block4_conv2/block4_conv2_f0511.png",
                          "block4_conv2/sheet.png", "manifest.json", "raw/block4_conv2.npy", "traces.csv"));
  EXPECT_EQ(manifest()["complete"], false);
  EXPECT_THAT(statuses(), ElementsAre("missing", "missing", "ok", "missing", "ok"));
  EXPECT_EQ(manifest()["counts"]["missing"], 3);
  EXPECT_EQ(manifest()["raw"],
            (json{{{"layer", "block4_conv2"}, {"file", "raw/block4_conv2.npy"}, {"filters", {0, 511}}}}));
  const InitialImages raw = read_initial_images(out_ / "raw/block4_conv2.npy");
  ASSERT_EQ(raw.count, 2);
  EXPECT_EQ(raw.values.back(), result_of({8, 511}, true).image.back());
  EXPECT_EQ(raw.values.front(), result_of({8, 0}, true).image.front());
  EXPECT_THAT(read_text(out_ / "traces.csv"),
              AllOf(HasSubstr("block4_conv2,511,4,"), Not(HasSubstr("block1_conv1"))));
  EXPECT_EQ(run.counts().missing, 3);
}

TEST_F(RunWriterTest, TellsOfDeadAndNonfiniteFilters) {
  RunWriter run = writer(selection_);
  for (const FilterId id : selection_) {
    FilterResult result = result_of(id);
    if (id.filter == 1) result.status = FilterStatus::dead;
    if (id.filter == 3) result.status = FilterStatus::nonfinite;
    run.add(std::move(result), engine_);
  }
  run.finish(kSeconds);
  EXPECT_EQ(manifest()["complete"], true);
  EXPECT_EQ(manifest()["counts"], (json{{"ok", 3}, {"dead", 1}, {"nonfinite", 1}, {"missing", 0}}));
  EXPECT_THAT(statuses(), ElementsAre("nonfinite", "ok", "ok", "dead", "ok"));
  EXPECT_THAT(run.counts().dead, ElementsAre(FilterId{8, 1}));
  EXPECT_THAT(run.counts().nonfinite, ElementsAre(FilterId{0, 3}));
}

TEST_F(RunWriterTest, SaysFromTheStartThatEverythingIsMissing) {
  { RunWriter run = writer(selection_); }
  EXPECT_EQ(manifest()["complete"], false);
  EXPECT_EQ(manifest()["engines"][0]["device"], "cpu");
  EXPECT_THAT(statuses(), ElementsAre("missing", "missing", "missing", "missing", "missing"));
  EXPECT_EQ(read_text(out_ / "traces.csv"), "layer,filter,iteration,loss\n");
  EXPECT_THAT(files_below(out_), ElementsAre("manifest.json", "traces.csv"));
}

TEST_F(RunWriterTest, ReplacesFilesOfItsNamesAndLeavesOthers) {
  force_ = true;
  std::filesystem::create_directories(out_ / "block1_conv1");
  for (const char* name : {"manifest.json", "traces.csv", "note.txt", "block1_conv1/block1_conv1_f0000.png",
                           "block1_conv1/block1_conv1_f0001.png"})
    write_text(out_ / name, "before");
  RunWriter run = writer({{0, 0}});
  EXPECT_NE(read_text(out_ / "manifest.json"), "before");
  EXPECT_NE(read_text(out_ / "traces.csv"), "before");
  run.add(result_of({0, 0}), engine_);
  run.finish(kSeconds);
  EXPECT_EQ(decode_png(out_ / "block1_conv1/block1_conv1_f0000.png").pixels, result_of({0, 0}).picture);
  EXPECT_EQ(read_text(out_ / "block1_conv1/block1_conv1_f0001.png"), "before");
  EXPECT_EQ(read_text(out_ / "note.txt"), "before");
}

TEST_F(RunWriterTest, RefusesAFolderThatCannotBeBeforeAnyWork) {
  write_text(folder_ / "file", "");
  for (const auto& path : {folder_ / "file", folder_ / "file" / "out"})
    EXPECT_THAT(error_of(ErrorKind::output, [&] { writer(selection_, path); }),
                AllOf(HasSubstr(path.string()), HasSubstr("--out")));
  std::filesystem::create_directories(out_);
  write_text(out_ / "block4_conv2", "");
  EXPECT_THAT(error_of(ErrorKind::output, [&] { writer(selection_); }), HasSubstr("block4_conv2"));
}

TEST_F(RunWriterTest, RefusesFiltersThatAreNotExpected) {
  EXPECT_THROW(writer({{0, 3}, {0, 1}}), std::invalid_argument);
  EXPECT_THROW(writer({{0, 3}, {0, 3}}), std::invalid_argument);
  RunWriter run = writer(selection_);
  EXPECT_THROW(run.add(result_of({0, 4}), engine_), std::invalid_argument);
  run.add(result_of({0, 3}), engine_);
  EXPECT_THROW(run.add(result_of({0, 3}), engine_), std::invalid_argument);
  run.finish(kSeconds);
}

TEST_F(RunWriterTest, NoticesAFullDiskAndKeepsWhatIsWritten) {
  options_.keep_images = true;
  RunWriter run = writer({{0, 0}, {0, 1}, {8, 0}});
  run.add(result_of({8, 0}, true), engine_);
  for (int i = 0; i < 1000 && !std::filesystem::exists(out_ / "block4_conv2/sheet.png"); ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  std::string message;
  {
    const FullDisk full(2000);  // Less than an unscaled image.
    run.add(result_of({0, 0}, true), engine_);
    // The error comes with some later call; until then this one is refused for being the second of its
    // filter.
    message = error_of(ErrorKind::output, [&] {
      for (int i = 0; i < 1000; ++i) {
        try {
          run.add(result_of({8, 0}, true), engine_);
        } catch (const std::invalid_argument&) {
          std::this_thread::sleep_for(std::chrono::milliseconds(10));
        }
      }
    });
  }
  EXPECT_THAT(message, AllOf(HasSubstr("raw/block1_conv1_f0000.npy"), HasSubstr("free some space")));
  EXPECT_EQ(error_of(ErrorKind::output, [&] { run.finish(kSeconds); }), message);
  EXPECT_THAT(statuses(), ElementsAre("missing", "missing", "ok"));
  EXPECT_EQ(manifest()["complete"], false);
  EXPECT_THAT(files_below(out_), ElementsAre("block4_conv2/block4_conv2_f0000.png", "block4_conv2/sheet.png",
                                             "manifest.json", "raw/block4_conv2.npy", "traces.csv"));
}

// More than the queue holds: add() waits, and everything arrives.
TEST_F(RunWriterTest, BoundsWhatWaits) {
  options_.extent = {512, 512};
  std::vector<FilterId> selection;
  for (int filter = 0; filter < 40; ++filter) selection.push_back({0, filter});
  options_.keep_images = true;
  RunWriter run = writer(selection);
  for (const FilterId id : selection) {
    FilterResult result;
    result.id = id;
    result.picture.resize(512 * 512 * 3, static_cast<std::uint8_t>(id.filter));
    result.image.resize(512 * 512 * 3, static_cast<float>(id.filter));
    run.add(std::move(result), engine_);
  }
  run.finish(kSeconds);
  EXPECT_EQ(run.counts().ok, 40);
  EXPECT_EQ(read_initial_images(out_ / "raw/block1_conv1.npy").count, 40);
}

TEST_F(RunWriterTest, TellsWhetherThereIsRoom) {
  options_.extent = {1600, 1600};
  std::vector<FilterId> selection;
  std::vector<FilterResult> results(20);
  for (int filter = 0; filter < 20; ++filter) {
    selection.push_back({0, filter});
    results[static_cast<std::size_t>(filter)].id = {0, filter};
    results[static_cast<std::size_t>(filter)].picture.resize(1600 * 1600 * 3, 5);
  }
  const std::size_t bytes = results.front().picture.size();
  RunWriter run = writer(selection);
  EXPECT_TRUE(run.has_room(bytes));
  EXPECT_TRUE(run.has_room(bytes * 100));  // Nothing waits: add() takes whatever it is.
  // Handed over in far less time than it takes to compress them.
  std::size_t added = 0;
  for (; added < results.size() && run.has_room(bytes); ++added) run.add(std::move(results[added]), engine_);
  EXPECT_GT(added, 1u);
  EXPECT_LT(added, results.size());
  wait_for([&] { return run.has_room(bytes); });
  run.finish(kSeconds);
  EXPECT_EQ(run.counts().ok, static_cast<int>(added));
}

TEST_F(RunWriterTest, ShowsAnErrorOfAPictureOfAnotherSize) {
  RunWriter run = writer({{0, 0}});
  FilterResult result = result_of({0, 0});
  result.picture.pop_back();
  run.add(std::move(result), engine_);
  EXPECT_THROW(run.finish(kSeconds), std::invalid_argument);
  EXPECT_THAT(statuses(), ElementsAre("missing"));
}

// --- Going on ---

class ResumedRunTest : public RunWriterTest {};

TEST_F(ResumedRunTest, HasNothingToDoWhenAllIsThere) {
  render(selection_);
  const std::string before = read_text(out_ / "manifest.json");
  engine_.threads = 7;  // No setting; this engine renders nothing.
  {
    RunWriter second = writer(selection_);
    EXPECT_THAT(second.remaining(), IsEmpty());
    EXPECT_THROW(second.add(result_of({0, 3}), engine_), std::invalid_argument);
    second.finish(0);
    EXPECT_EQ(read_text(out_ / "manifest.json"), before);
    EXPECT_EQ(second.counts().ok, 5);
  }
  engine_.threads = 2;
  expect_as_uninterrupted(selection_);
}

TEST_F(ResumedRunTest, GoesOnAfterAKill) {
  for (const bool raw : {false, true}) {
    options_.keep_images = raw;
    std::filesystem::remove_all(out_);
    render_and_die(selection_, {{0, 3}, {8, 1}});
    EXPECT_THAT(statuses(), ElementsAre("missing", "missing", "missing", "missing", "missing"));
    render_and_die(selection_, {{0, 63}});
    EXPECT_THAT(statuses(), ElementsAre("ok", "missing", "missing", "ok", "missing"));
    EXPECT_THAT(render(selection_), ElementsAre(FilterId{8, 0}, FilterId{8, 511}));
    expect_as_uninterrupted(selection_);
  }
}

TEST_F(ResumedRunTest, AddsTheSecondsOfTheRuns) {
  render({{0, 0}});
  render_and_die({{0, 0}, {0, 1}}, {{0, 1}});
  const std::string journal = read_text(out_ / "journal.jsonl");
  write_text(out_ / "journal.jsonl",
             std::regex_replace(journal, std::regex("\"seconds\": [0-9.]+"), "\"seconds\": 30.25"));
  render({{0, 2}});
  EXPECT_NEAR(manifest()["wall_seconds"].get<double>(),
              2 * kSeconds + 30.25 + manifest()["phases"]["finish"].get<double>(), 1e-5);
}

TEST_F(ResumedRunTest, AddsThePhasesOfTheRuns) {
  const PhaseSeconds phases{.start_up = 0.5, .weights = 1, .plans = 2, .ascent = 4};
  for (const FilterId id : {FilterId{0, 0}, FilterId{0, 1}}) {
    RunWriter run = writer({id});
    run.add(result_of(id), engine_);
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
    run.finish(kSeconds, phases);
  }
  const json of_both = manifest()["phases"];
  EXPECT_EQ(of_both["start_up"], 1);
  EXPECT_EQ(of_both["weights"], 2);
  EXPECT_EQ(of_both["plans"], 4);
  EXPECT_EQ(of_both["ascent"], 8);
  // Two pictures and three sheets, and their files, took some time, but not what others are given.
  for (const char* own : {"finish", "encode", "write"}) {
    EXPECT_GT(of_both[own], 0) << own;
    EXPECT_LT(of_both[own], 60) << own;
  }
}

// Whatever part of the journal's last line was written.
TEST_F(ResumedRunTest, ToleratesATornJournal) {
  render_and_die(selection_, {{0, 3}, {0, 63}});
  const std::string journal = read_text(out_ / "journal.jsonl");
  const std::size_t second_line = journal.rfind("{\"filter\"");
  ASSERT_GT(journal.size(), second_line + 200);
  const std::string manifest = read_text(out_ / "manifest.json");
  const std::string traces = read_text(out_ / "traces.csv");
  std::vector<std::size_t> lengths{0,
                                   1,
                                   journal.find('\n'),
                                   second_line - 1,
                                   second_line,
                                   second_line + 1,
                                   journal.size() - 2,
                                   journal.size() - 1};
  for (std::size_t length = second_line; length < journal.size(); length += 37) lengths.push_back(length);
  for (const std::size_t length : lengths) {
    write_text(out_ / "manifest.json", manifest);
    write_text(out_ / "traces.csv", traces);
    write_text(out_ / "journal.jsonl", journal.substr(0, length));
    const RunWriter run = writer(selection_);
    EXPECT_EQ(run.remaining().size(), length < second_line ? 5u : 4u) << length;
  }
  for (const char* bad : {"{\"filter\": 3}", "{}", "[]", "3", "{\"engine\": {}}", "nonsense", "\xff\xfe"}) {
    write_text(out_ / "manifest.json", manifest);
    write_text(out_ / "traces.csv", traces);
    write_text(out_ / "journal.jsonl",
               journal.substr(0, second_line) + bad + "\n" + journal.substr(second_line));
    const RunWriter run = writer(selection_);
    EXPECT_EQ(run.remaining().size(), 4u) << bad;
  }
  render(selection_);
  expect_as_uninterrupted(selection_);
}

// Killed at the end: manifest, traces and journal may each be old or new.
TEST_F(ResumedRunTest, GoesOnAfterAKillAtTheEnd) {
  options_.keep_images = true;
  const std::vector<FilterId> half{{0, 3}, {8, 0}};
  render(half);
  render_and_die(selection_, {{0, 63}, {8, 1}, {8, 511}});
  const std::string journal = read_text(out_ / "journal.jsonl");
  EXPECT_THAT(render(selection_), IsEmpty());

  write_text(out_ / "journal.jsonl", journal);  // Not yet removed.
  EXPECT_THAT(render(selection_), IsEmpty());
  expect_as_uninterrupted(selection_);

  std::filesystem::remove_all(out_);
  render(half);
  const std::string old_traces = read_text(out_ / "traces.csv");
  render_and_die(selection_, {{0, 63}, {8, 1}, {8, 511}});
  const std::string new_journal = read_text(out_ / "journal.jsonl");
  render(selection_);
  write_text(out_ / "traces.csv", old_traces);  // Not yet replaced.
  write_text(out_ / "journal.jsonl", new_journal);
  EXPECT_THAT(render(selection_), IsEmpty());
  expect_as_uninterrupted(selection_);
}

// Killed at the start: the manifest is there, the traces are not yet.
TEST_F(ResumedRunTest, GoesOnAfterAKillAtTheStart) {
  for (const char* traces : {"", "of another run"}) {
    { const RunWriter run = writer(selection_); }
    std::filesystem::remove(out_ / "traces.csv");
    if (*traces != 0) write_text(out_ / "traces.csv", traces);
    EXPECT_THAT(render(selection_), SizeIs(5));
    expect_as_uninterrupted(selection_);
    std::filesystem::remove_all(out_);
  }
}

TEST_F(ResumedRunTest, AddsToWhatIsThere) {
  options_.keep_images = true;
  render({{0, 3}, {8, 0}, {8, 511}});
  EXPECT_THAT(render({{0, 63}, {8, 1}, {8, 511}}), ElementsAre(FilterId{0, 63}, FilterId{8, 1}));
  expect_as_uninterrupted(selection_);
}

TEST_F(ResumedRunTest, ForgetsWhatWasSelectedAndNotFinished) {
  {
    RunWriter first = writer(selection_);
    first.add(result_of({8, 1}), engine_);
    first.finish(kSeconds);
  }
  EXPECT_EQ(statuses().size(), 5u);
  render({{0, 3}});
  EXPECT_THAT(statuses(), ElementsAre("ok", "ok"));
  EXPECT_EQ(manifest()["complete"], true);
  expect_as_uninterrupted({{0, 3}, {8, 1}});  // The sheet of block4_conv2 has no empty places any more.
}

TEST_F(ResumedRunTest, RefusesOtherSettingsAndLeavesTheFolderAlone) {
  render_and_die(selection_, {{0, 3}});
  const std::vector<std::string> files = files_below(out_);
  std::vector<std::string> contents;
  for (const std::string& file : files) contents.push_back(read_text(out_ / file));
  recipe_.iterations = 8;
  options_.seed = 6;
  weights_.name = "synthetic:1";
  EXPECT_THAT(
      error_of(ErrorKind::usage, [&] { writer(selection_); }),
      AllOf(HasSubstr(out_.string()), HasSubstr("--iterations: 4 then, 8 now"),
            HasSubstr("--seed: 5 then, 6 now"), HasSubstr("--weights: synthetic:0 then, synthetic:1 now"),
            HasSubstr("--force"), Not(HasSubstr("--size"))));
  ASSERT_EQ(files_below(out_), files);
  for (std::size_t i = 0; i < files.size(); ++i)
    EXPECT_EQ(read_text(out_ / files[i]), contents[i]) << files[i];
}

TEST_F(ResumedRunTest, ForceBeginsAnew) {
  options_.keep_images = true;
  render(selection_);
  render_and_die({{0, 1}}, {{0, 1}});
  force_ = true;
  options_.seed = 6;
  {
    RunWriter second = writer({{0, 3}, {0, 4}});
    EXPECT_EQ(second.remaining().size(), 2u);
    EXPECT_THAT(statuses(), ElementsAre("missing", "missing"));
  }
  render({{0, 3}, {0, 4}});
  EXPECT_THAT(statuses(), ElementsAre("ok", "ok"));
  EXPECT_EQ(manifest()["raw"],
            (json{{{"layer", "block1_conv1"}, {"file", "raw/block1_conv1.npy"}, {"filters", {3, 4}}}}));
  EXPECT_THAT(files_below(out_),
              AllOf(Contains("block4_conv2/block4_conv2_f0511.png"), Not(Contains("journal.jsonl"))));
}

TEST_F(ResumedRunTest, RendersAgainWhatIsNotWhole) {
  const std::vector<FilterId> selection{{0, 0}, {0, 1}, {0, 2}, {0, 3}, {0, 4}};
  render(selection);
  const auto picture = [&](int filter) {
    return out_ / fmt::format("block1_conv1/block1_conv1_f{:04}.png", filter);
  };
  const std::string whole = read_text(picture(1));
  std::filesystem::remove(picture(0));
  write_text(picture(1), whole.substr(0, whole.size() - 1));
  write_text(picture(2), "");
  write_png(picture(3), std::vector<std::uint8_t>(24 * 20 * 3), {24, 20});
  EXPECT_THAT(render(selection), ElementsAre(FilterId{0, 0}, FilterId{0, 1}, FilterId{0, 2}, FilterId{0, 3}));
  expect_as_uninterrupted(selection);
}

TEST_F(ResumedRunTest, RendersAgainForUnscaledImages) {
  render(selection_);
  options_.keep_images = true;
  EXPECT_THAT(render({{0, 3}, {0, 63}, {8, 0}}), SizeIs(3));
  const std::filesystem::path raw = out_ / "raw" / "block1_conv1.npy";
  write_text(raw, read_text(raw) + "x");
  EXPECT_THAT(render(selection_),
              ElementsAre(FilterId{0, 3}, FilterId{0, 63}, FilterId{8, 1}, FilterId{8, 511}));
  expect_as_uninterrupted(selection_);
}

TEST_F(ResumedRunTest, RendersAgainForAnimations) {
  render(selection_);
  options_.frame_every = 3;
  EXPECT_THAT(render({{0, 3}, {0, 63}, {8, 0}}), SizeIs(3));
  const auto animation = [&](int filter) {
    return out_ / fmt::format("block1_conv1/block1_conv1_f{:04}.apng", filter);
  };
  EXPECT_EQ(read_apng(animation(63), kExtent, 3), result_of({0, 63}, false, 3).frames);
  EXPECT_EQ(manifest()["filters"][1]["animation"], "block1_conv1/block1_conv1_f0063.apng");
  EXPECT_EQ(manifest()["filters"][1]["frame_every"], 3);
  EXPECT_FALSE(manifest()["filters"][4].contains("animation"));
  std::filesystem::remove(animation(3));
  const std::string whole = read_text(animation(63));
  write_text(animation(63), whole.substr(0, whole.size() - 1));
  EXPECT_THAT(render(selection_),
              ElementsAre(FilterId{0, 3}, FilterId{0, 63}, FilterId{8, 1}, FilterId{8, 511}));
  expect_as_uninterrupted(selection_);
  // With another number of iterations between frames, those of the selection alone.
  options_.frame_every = 2;
  EXPECT_THAT(render({{0, 3}}), SizeIs(1));
  EXPECT_EQ(manifest()["filters"][0]["frame_every"], 2);
  EXPECT_EQ(manifest()["filters"][1]["frame_every"], 3);
  EXPECT_TRUE(is_whole_apng(animation(3), kExtent, frame_count(4, 2)));
}

TEST_F(ResumedRunTest, KeepsAnimationsOfWhatIsRenderedAgain) {
  options_.frame_every = 1;
  render(selection_);
  options_.frame_every = 0;
  EXPECT_THAT(render(selection_), IsEmpty());
  options_.keep_images = true;
  EXPECT_THAT(render(selection_), SizeIs(5));
  std::filesystem::remove(out_ / "block1_conv1/block1_conv1_f0003.png");
  EXPECT_THAT(render(selection_), SizeIs(1));
  options_.frame_every = 1;
  EXPECT_THAT(render(selection_), IsEmpty());
  expect_as_uninterrupted(selection_);
  // One that is forgotten does not stay beside another run's picture.
  options_.frame_every = 0;
  force_ = true;
  render(selection_);
  force_ = false;
  expect_as_uninterrupted(selection_);
}

TEST_F(ResumedRunTest, GoesOnWithAnimationsAfterAKill) {
  options_.frame_every = 3;
  render_and_die(selection_, {{0, 63}, {8, 1}});
  EXPECT_THAT(render(selection_), SizeIs(3));
  expect_as_uninterrupted(selection_);
}

TEST_F(ResumedRunTest, DrawsSheetsThatAreMissing) {
  render(selection_);
  std::filesystem::remove(out_ / "block4_conv2" / "sheet.png");
  render({{0, 3}});
  expect_as_uninterrupted(selection_);
}

TEST_F(ResumedRunTest, TellsWhichEngineRenderedAFilter) {
  render({{0, 3}});
  engine_.device_name = "Another CPU";
  render({{0, 3}, {0, 4}});
  EXPECT_EQ(manifest()["engines"].size(), 2u);
  EXPECT_EQ(manifest()["filters"][0]["engine"], 0);
  EXPECT_EQ(manifest()["filters"][1]["engine"], 1);
  EXPECT_EQ(manifest()["engines"][1]["device_name"], "Another CPU");
}

TEST_F(ResumedRunTest, KeepsNumbersThatAreNotFinite) {
  {
    RunWriter first = writer({{0, 3}});
    FilterResult result = result_of({0, 3});
    result.status = FilterStatus::nonfinite;
    result.final_loss = std::numeric_limits<float>::infinity();
    result.trace.clear();
    first.add(std::move(result), engine_);
    first.finish(kSeconds);
  }
  const std::string line = manifest()["filters"][0].dump();
  EXPECT_THAT(render({{0, 3}, {0, 4}}), ElementsAre(FilterId{0, 4}));
  EXPECT_EQ(manifest()["filters"][0].dump(), line);
}

TEST_F(ResumedRunTest, RemovesWhatAKilledRunLeft) {
  options_.keep_images = true;
  render_and_die(selection_, {{0, 3}});
  for (const char* name : {"block1_conv1/.sheet.png.01234567.tmp", "raw/.block1_conv1.npy.89abcdef.tmp",
                           ".manifest.json.00000000.tmp", "raw/block4_conv2_f0500.npy"})
    write_text(out_ / name, "torn");
  render(selection_);
  expect_as_uninterrupted(selection_);
}

TEST_F(ResumedRunTest, OneProcessAtATime) {
  RunWriter run = writer(selection_);
  run.add(result_of({0, 3}), engine_);
  EXPECT_THAT(error_of(ErrorKind::output, [&] { writer(selection_); }),
              AllOf(HasSubstr(out_.string()), HasSubstr("another filterscope")));
  EXPECT_THROW(run.add(result_of({0, 3}), engine_), std::invalid_argument);
  run.finish(kSeconds);
  EXPECT_EQ(run.counts().ok, 1);
}

TEST_F(ResumedRunTest, WithoutTheTracesThePicturesAreKept) {
  render({{0, 3}});
  std::filesystem::remove(out_ / "traces.csv");
  const json before = manifest()["filters"][0];
  {
    RunWriter run = writer({{0, 3}, {0, 4}});
    EXPECT_TRUE(run.traces_lost());
    EXPECT_THAT(run.remaining(), ElementsAre(FilterId{0, 4}));
    run.add(result_of({0, 4}), engine_);
    run.finish(kSeconds);
  }
  EXPECT_EQ(manifest()["filters"][0], before);
  EXPECT_THAT(read_text(out_ / "traces.csv"),
              AllOf(HasSubstr("block1_conv1,4,"), Not(HasSubstr("block1_conv1,3,"))));
  EXPECT_FALSE(writer({{0, 3}}).traces_lost());
}

TEST_F(ResumedRunTest, RefusesFoldersThatItCannotRead) {
  render(selection_);
  const std::string traces = read_text(out_ / "traces.csv");
  const auto next = std::to_string(std::ranges::count(traces, '\n') + 1);
  for (const auto& [bad, problem] :
       {std::pair{std::string("nonsense"), std::string("line 1: expected")},
        {traces + "block1_conv1,3,x,1\n", "line " + next +
                                              ": expected layer,filter,iteration,loss, found "
                                              "\"block1_conv1,3,x,1\" (\"x\" is no number)"},
        {traces + "block9_conv9,3,1,1\n", "no layer \"block9_conv9\")"}}) {
    write_text(out_ / "traces.csv", bad);
    EXPECT_THAT(error_of(ErrorKind::input, [&] { writer(selection_); }),
                AllOf(HasSubstr("traces.csv"), HasSubstr(problem), HasSubstr("move it away")));
  }
  write_text(out_ / "traces.csv", traces);
  write_text(out_ / "manifest.json", R"({"program": "another"})");
  EXPECT_THAT(error_of(ErrorKind::input, [&] { writer(selection_); }),
              AllOf(HasSubstr("another program's; give another folder"), Not(HasSubstr("--force"))));
  write_text(out_ / "manifest.json", "nonsense");
  EXPECT_THAT(error_of(ErrorKind::input, [&] { writer(selection_); }),
              AllOf(HasSubstr("manifest.json"), HasSubstr("--force")));
  EXPECT_EQ(read_text(out_ / "manifest.json"), "nonsense");
}

}  // namespace
}  // namespace filterscope
