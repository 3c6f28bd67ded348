// Runs that continue in the folder of an earlier one.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <limits>
#include <regex>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "host/output/apng.h"
#include "host/output/npy.h"
#include "host/store/run_writer.h"
#include "run_fixture.h"

namespace filterscope {
namespace {

using testing::AllOf;
using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using testing::SizeIs;

class ResumedRunTest : public RunWriterTest {};

TEST_F(ResumedRunTest, HasNothingToDoWhenAllIsFinished) {
  render(selection_);
  const std::string before = read_text(out_ / "manifest.json");
  engine_.threads = 7;  // Not a setting; and this engine renders nothing.
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

TEST_F(ResumedRunTest, ContinuesAfterAKill) {
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
  // Two pictures and three sheets took some time, but less than the times given above.
  for (const char* own : {"finish", "encode", "write"}) {
    EXPECT_GT(of_both[own], 0) << own;
    EXPECT_LT(of_both[own], 60) << own;
  }
}

// Any part of the journal's last line may have been written.
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

// After a kill at the end, manifest, traces and journal may each be old or new.
TEST_F(ResumedRunTest, ContinuesAfterAKillAtTheEnd) {
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

// After a kill at the start, the manifest may be there without the traces.
TEST_F(ResumedRunTest, ContinuesAfterAKillAtTheStart) {
  for (const char* traces : {"", "of another run"}) {
    { const RunWriter run = writer(selection_); }
    std::filesystem::remove(out_ / "traces.csv");
    if (*traces != 0) write_text(out_ / "traces.csv", traces);
    EXPECT_THAT(render(selection_), SizeIs(5));
    expect_as_uninterrupted(selection_);
    std::filesystem::remove_all(out_);
  }
}

TEST_F(ResumedRunTest, AddsToEarlierResults) {
  options_.keep_images = true;
  render({{0, 3}, {8, 0}, {8, 511}});
  EXPECT_THAT(render({{0, 63}, {8, 1}, {8, 511}}), ElementsAre(FilterId{0, 63}, FilterId{8, 1}));
  expect_as_uninterrupted(selection_);
}

TEST_F(ResumedRunTest, ForgetsUnfinishedFilters) {
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

TEST_F(ResumedRunTest, RejectsOtherSettingsAndLeavesTheFolderAlone) {
  render_and_die(selection_, {{0, 3}});
  const std::vector<std::string> files = files_below(out_);
  std::vector<std::string> contents;
  for (const std::string& file : files) contents.push_back(read_text(out_ / file));
  recipe_.stages.front().iterations = 8;
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

TEST_F(ResumedRunTest, ForceStartsOver) {
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

TEST_F(ResumedRunTest, RendersAgainIfFilesAreNotWhole) {
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
  // With another number of iterations between frames, only those of the selection.
  options_.frame_every = 2;
  EXPECT_THAT(render({{0, 3}}), SizeIs(1));
  EXPECT_EQ(manifest()["filters"][0]["frame_every"], 2);
  EXPECT_EQ(manifest()["filters"][1]["frame_every"], 3);
  EXPECT_TRUE(is_whole_apng(animation(3), kExtent, frame_count(4, 2)));
}

TEST_F(ResumedRunTest, KeepsAnimationsOfFiltersRenderedAgain) {
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
  // A forgotten one does not remain next to another run's picture.
  options_.frame_every = 0;
  force_ = true;
  render(selection_);
  force_ = false;
  expect_as_uninterrupted(selection_);
}

TEST_F(ResumedRunTest, ContinuesWithAnimationsAfterAKill) {
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

TEST_F(ResumedRunTest, RecordsWhichEngineRenderedAFilter) {
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

TEST_F(ResumedRunTest, RemovesRemainsOfAKilledRun) {
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

TEST_F(ResumedRunTest, KeepsPicturesWithoutTraces) {
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

TEST_F(ResumedRunTest, RejectsUnreadableFolders) {
  render(selection_);
  const std::string traces = read_text(out_ / "traces.csv");
  const auto next = std::to_string(std::ranges::count(traces, '\n') + 1);
  for (const auto& [bad, problem] :
       {std::pair{std::string("nonsense"), std::string("line 1: expected")},
        {traces + "block1_conv1,3,x,1\n", "line " + next +
                                              ": expected layer,filter,iteration,loss, found "
                                              "\"block1_conv1,3,x,1\" (\"x\" is not a number)"},
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
