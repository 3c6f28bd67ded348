#include "host/store/run_writer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <random>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "host/output/npy.h"
#include "run_fixture.h"

namespace filterscope {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

TEST_F(RunWriterTest, WritesTheSameWithAllThreads) {
  options_.keep_images = true;
  std::vector<FilterId> selection;
  for (int filter = 0; filter < 40; ++filter) selection.push_back({filter / 20, filter});
  render(selection, folder_ / "few");
  processors_free_ = true;
  render(selection, folder_ / "many");
  const auto files = files_below(folder_ / "few");
  EXPECT_EQ(files_below(folder_ / "many"), files);
  for (const auto& file : files) {
    if (file == "manifest.json") continue;  // It has times.
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
  const RgbImage picture = decode_png(out_ / "block4_conv2/block4_conv2_f0511.png");
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
    if (file == "manifest.json") continue;  // It has the time of the start.
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

TEST_F(RunWriterTest, CountsRescuedDeadAndNonfiniteFilters) {
  RunWriter run = writer(selection_);
  for (const FilterId id : selection_) {
    FilterResult result = result_of(id);
    if (id.filter == 1) result.status = FilterStatus::dead;
    if (id.filter == 63) {
      result.status = FilterStatus::rescued;
      result.rescued_iterations = 2;
      result.alive_from = 3;
    }
    if (id.filter == 3) result.status = FilterStatus::nonfinite;
    run.add(std::move(result), engine_);
  }
  run.finish(kSeconds);
  EXPECT_EQ(manifest()["complete"], true);
  EXPECT_EQ(manifest()["counts"],
            (json{{"ok", 2}, {"rescued", 1}, {"dead", 1}, {"nonfinite", 1}, {"missing", 0}}));
  EXPECT_THAT(statuses(), ElementsAre("nonfinite", "rescued", "ok", "dead", "ok"));
  EXPECT_EQ(manifest()["filters"][1]["rescued_iterations"], 2);
  EXPECT_EQ(manifest()["filters"][1]["alive_from"], 3);
  EXPECT_EQ(run.counts().ok, 2);
  EXPECT_EQ(run.counts().rescued, 1);
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

TEST_F(RunWriterTest, RejectsAnImpossibleFolderBeforeAnyWork) {
  write_text(folder_ / "file", "");
  for (const auto& path : {folder_ / "file", folder_ / "file" / "out"})
    EXPECT_THAT(error_of(ErrorKind::output, [&] { writer(selection_, path); }),
                AllOf(HasSubstr(path.string()), HasSubstr("--out")));
  std::filesystem::create_directories(out_);
  write_text(out_ / "block4_conv2", "");
  EXPECT_THAT(error_of(ErrorKind::output, [&] { writer(selection_); }), HasSubstr("block4_conv2"));
}

TEST_F(RunWriterTest, RejectsUnexpectedFilters) {
  EXPECT_THROW(writer({{0, 3}, {0, 1}}), std::invalid_argument);
  EXPECT_THROW(writer({{0, 3}, {0, 3}}), std::invalid_argument);
  RunWriter run = writer(selection_);
  EXPECT_THROW(run.add(result_of({0, 4}), engine_), std::invalid_argument);
  run.add(result_of({0, 3}), engine_);
  EXPECT_THROW(run.add(result_of({0, 3}), engine_), std::invalid_argument);
  run.finish(kSeconds);
}

TEST_F(RunWriterTest, ReportsAFullDiskAndKeepsWhatIsWritten) {
  options_.keep_images = true;
  RunWriter run = writer({{0, 0}, {0, 1}, {8, 0}});
  run.add(result_of({8, 0}, true), engine_);
  for (int i = 0; i < 1000 && !std::filesystem::exists(out_ / "block4_conv2/sheet.png"); ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  std::string message;
  {
    const FullDisk full(2000);  // Less than an unscaled image.
    run.add(result_of({0, 0}, true), engine_);
    // The error comes with some later call; until then, this filter is rejected as added twice.
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
  EXPECT_THAT(message, AllOf(HasSubstr("raw/block1_conv1_f0000.npy"), HasSubstr("`ulimit -f`")));
  EXPECT_EQ(error_of(ErrorKind::output, [&] { run.finish(kSeconds); }), message);
  EXPECT_THAT(statuses(), ElementsAre("missing", "missing", "ok"));
  EXPECT_EQ(manifest()["complete"], false);
  EXPECT_THAT(files_below(out_), ElementsAre("block4_conv2/block4_conv2_f0000.png", "block4_conv2/sheet.png",
                                             "manifest.json", "raw/block4_conv2.npy", "traces.csv"));
}

// If there is more than the queue holds, add() waits, and everything arrives.
TEST_F(RunWriterTest, BoundsTheQueue) {
  recipe_.stages.front().extent = {512, 512};
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

TEST_F(RunWriterTest, SaysWhetherThereIsRoom) {
  recipe_.stages.front().extent = {1600, 1600};
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
  EXPECT_TRUE(run.has_room(bytes * 100));  // If nothing waits, add() takes any size.
  // These are added in far less time than it takes to compress them.
  std::size_t added = 0;
  for (; added < results.size() && run.has_room(bytes); ++added) run.add(std::move(results[added]), engine_);
  EXPECT_GT(added, 1u);
  EXPECT_LT(added, results.size());
  wait_for([&] { return run.has_room(bytes); });
  run.finish(kSeconds);
  EXPECT_EQ(run.counts().ok, static_cast<int>(added));
}

TEST_F(RunWriterTest, ThrowsForAPictureOfAnotherSize) {
  RunWriter run = writer({{0, 0}});
  FilterResult result = result_of({0, 0});
  result.picture.pop_back();
  run.add(std::move(result), engine_);
  EXPECT_THROW(run.finish(kSeconds), std::invalid_argument);
  EXPECT_THAT(statuses(), ElementsAre("missing"));
}

}  // namespace
}  // namespace filterscope
