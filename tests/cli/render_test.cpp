// `filterscope render`: its options, and the files and messages that it writes.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <regex>
#include <string>
#include <vector>

#include "host/output/apng.h"
#include "tests/support/program.h"

namespace filterscope {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::MatchesRegex;
using ::testing::Not;
using ::testing::StartsWith;

TEST_F(Cli, RendersPicturesSheetTracesAndManifest) {
  const Outcome outcome = render({"block1_conv1:0-2"});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_THAT(outcome.out,
              AllOf(HasSubstr("3 filters in "), HasSubstr("filters/s"), HasSubstr("filterscope-out/"),
                    HasSubstr("not pictures of a trained network")));
  EXPECT_THAT(outcome.err, AllOf(HasSubstr("3 filters of 1 layer of vgg16, 2 iterations at 32 x 32"),
                                 HasSubstr("synthetic:0")));

  for (const char* file :
       {"block1_conv1_f0000.png", "block1_conv1_f0001.png", "block1_conv1_f0002.png", "sheet.png"}) {
    EXPECT_THAT(read_text(folder_ / "filterscope-out/block1_conv1" / file), StartsWith("\x89PNG\r\n"))
        << file;
  }
  EXPECT_FALSE(exists("filterscope-out/raw"));
  const auto traces = lines_of(read_text(folder_ / "filterscope-out/traces.csv"));
  ASSERT_EQ(traces.size(), 7u);
  EXPECT_EQ(traces[0], "layer,filter,iteration,loss");
  EXPECT_THAT(traces[1], StartsWith("block1_conv1,0,1,"));

  const auto record = manifest();
  EXPECT_EQ(record["complete"], true);
  EXPECT_EQ(record["weights"]["name"], "synthetic:0");
  EXPECT_EQ(record["recipe"]["stages"][0]["iterations"], 2);
  EXPECT_EQ(record["filters"].size(), 3u);
  EXPECT_THAT(record["command_lines"][0].get<std::string>(),
              StartsWith("filterscope render --weights synthetic"));
  for (const char* phase : {"start_up", "weights", "plans", "ascent", "finish", "encode", "write"})
    EXPECT_GE(record["phases"][phase], 0) << phase;
  EXPECT_GT(record["phases"]["weights"], 0);  // Making millions of synthetic weights takes time.
}

TEST_F(Cli, OptionsReachTheManifest) {
  const Outcome outcome = render({"--weights",
                                  "synthetic:5",
                                  "block1_conv1:random2",
                                  "--seed",
                                  "18446744073709551615",
                                  "--step",
                                  "0.25",
                                  "--size=33",
                                  "--trace-every",
                                  "2",
                                  "--batch",
                                  "1",
                                  "--threads",
                                  "1",
                                  "--precision",
                                  "fp32",
                                  "--recipe",
                                  "seed",
                                  "--reproducible",
                                  "--out",
                                  "some where"});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  const auto record = manifest("some where");
  EXPECT_EQ(record["weights"]["name"], "synthetic:5");
  EXPECT_EQ(record["seed"], UINT64_MAX);
  EXPECT_EQ(record["recipe"]["stages"][0]["optimiser"]["step"], 0.25);
  EXPECT_EQ(record["size"]["height"], 33);
  EXPECT_EQ(record["size"]["width"], 33);
  EXPECT_EQ(record["trace_every"], 2);
  EXPECT_EQ(record["engines"][0]["threads"], 1);
  EXPECT_EQ(record["engines"][0]["precision"], "fp32");
  EXPECT_EQ(record["reproducible"], true);
  EXPECT_EQ(record["filters"].size(), 2u);
  EXPECT_THAT(record["command_lines"][0].get<std::string>(), HasSubstr("--out 'some where'"));
  EXPECT_EQ(lines_of(read_text(folder_ / "some where/traces.csv")).size(), 3u);
}

TEST_F(Cli, RawImagesAreOneArrayPerLayer) {
  ASSERT_EQ(render({"block1_conv1:0-2", "block1_conv2:7", "--raw"}).exit_code, 0);
  const std::string array = read_text(folder_ / "filterscope-out/raw/block1_conv1.npy");
  EXPECT_THAT(array, HasSubstr("(3, 32, 32, 3)"));
  EXPECT_GE(array.size(), 3u * 32 * 32 * 3 * 4);
  EXPECT_THAT(read_text(folder_ / "filterscope-out/raw/block1_conv2.npy"), HasSubstr("(1, 32, 32, 3)"));
}

TEST_F(Cli, AnimationsHoldAFrameEveryFewIterations) {
  const auto animation = [&](const std::string& filter) {
    return folder_ / ("filterscope-out/block1_conv1/block1_conv1_f000" + filter + ".apng");
  };
  // Without a number, in any place, and with one.
  ASSERT_EQ(render({"--animate", "block1_conv1:0"}).exit_code, 0);
  EXPECT_TRUE(is_whole_apng(animation("0"), {32, 32}, 3));
  ASSERT_EQ(render({"block1_conv1:1", "--animate", "2"}).exit_code, 0);
  EXPECT_TRUE(is_whole_apng(animation("1"), {32, 32}, 2));
  ASSERT_EQ(render({"block1_conv1:2", "--animate=auto"}).exit_code, 0);
  ASSERT_EQ(render({"block1_conv1:3", "--animate", "auto", "--quiet"}).exit_code, 0);
  ASSERT_EQ(render({"block1_conv1:4", "--animate"}).exit_code, 0);
  ASSERT_EQ(render({"block1_conv1:5"}).exit_code, 0);
  for (const char* filter : {"2", "3", "4"}) EXPECT_TRUE(is_whole_apng(animation(filter), {32, 32}, 3));
  EXPECT_FALSE(fs::exists(animation("5")));
  const auto filters = manifest()["filters"];
  EXPECT_EQ(filters[1]["animation"], "block1_conv1/block1_conv1_f0001.apng");
  EXPECT_EQ(filters[1]["frame_every"], 2);
  EXPECT_EQ(filters[4]["frame_every"], 1);
  EXPECT_FALSE(filters[5].contains("animation"));
  const Outcome again = render({"block1_conv1:0-5", "--animate"});
  EXPECT_EQ(again.exit_code, 0) << again.err;
  EXPECT_THAT(again.out, HasSubstr("2 filters in "));  // 1 has other frames, and 5 none.
  EXPECT_EQ(manifest()["filters"][1]["frame_every"], 1);
}

TEST_F(Cli, FramesBeyondMemoryAreRefused) {
  EXPECT_THAT(
      error_of({"render", "--weights", "synthetic", "block1_conv1:0", "--size", "16384", "--iterations",
                "2000000", "--animate", "1"},
               kUsage),
      AllOf(HasSubstr("--animate 1: 2,000,001 frames"), HasSubstr("GB of memory"), HasSubstr("a larger N")));
  EXPECT_FALSE(fs::exists(folder_ / "filterscope-out"));
}

TEST_F(Cli, StartImagesDecideTheSize) {
  write_npy("start.npy", {33, 40, 3}, 0.5f);
  std::vector<std::string> arguments{"render", "--weights", "synthetic",        "--iterations", "2",
                                     "--init", "start.npy", "block1_conv1:0-1", "--device",     "cpu"};
  const Outcome outcome = run(arguments);
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_EQ(manifest()["size"]["height"], 33);
  EXPECT_EQ(manifest()["size"]["width"], 40);
  EXPECT_EQ(manifest()["init"]["file"], (folder_ / "start.npy").string());
  EXPECT_EQ(manifest()["init"]["sha256"].get<std::string>().size(), 64u);
  EXPECT_EQ(manifest()["init"]["filters"], nullptr);

  write_npy("each.npy", {2, 32, 32, 3}, 0.5f);
  EXPECT_EQ(render({"--init", "each.npy", "block1_conv1:0-1", "--out", "each"}).exit_code, 0);
  EXPECT_EQ(manifest("each")["init"]["filters"], "block1_conv1:0-1");
}

TEST_F(Cli, VerbosePrintsLossesAsTheNotebookDoes) {
  const Outcome one = render({"block1_conv1:51", "--verbose"});
  ASSERT_EQ(one.exit_code, 0) << one.err;
  const auto lines = lines_of(one.out);
  ASSERT_GE(lines.size(), 2u);
  EXPECT_THAT(lines[0], MatchesRegex("Iteration: 1, Loss: [0-9]+\\.[0-9]{6}"));
  EXPECT_THAT(lines[1], MatchesRegex("Iteration: 2, Loss: [0-9]+\\.[0-9]{6}"));

  const Outcome two = render({"block1_conv1:50-51", "--verbose", "--trace-every", "2", "--out", "two"});
  ASSERT_EQ(two.exit_code, 0) << two.err;
  EXPECT_TRUE(
      std::regex_search(two.out, std::regex("block1_conv1 50  Iteration: 2, Loss: [0-9]+\\.[0-9]{6}\n")))
      << two.out;
  EXPECT_TRUE(
      std::regex_search(two.out, std::regex("block1_conv1 51  Iteration: 2, Loss: [0-9]+\\.[0-9]{6}\n")))
      << two.out;
  EXPECT_THAT(two.out, Not(HasSubstr("Iteration: 1,")));
}

TEST_F(Cli, QuietPrintsNothing) {
  const Outcome outcome = render({"block1_conv1:0-2", "--quiet"});
  EXPECT_EQ(outcome.exit_code, 0);
  EXPECT_EQ(outcome.out, "");
  EXPECT_EQ(outcome.err, "");
  EXPECT_TRUE(exists("filterscope-out/block1_conv1/block1_conv1_f0002.png"));
}

TEST_F(Cli, DeadFiltersAreCountedAndListed) {
  write_first_layer("first.safetensors");
  const Outcome outcome = render({"--weights", "first.safetensors", "block1_conv1:0-2"});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_THAT(outcome.out,
              AllOf(HasSubstr("1 dead"), HasSubstr("block1_conv1:0\n"), Not(HasSubstr("trained"))));
  EXPECT_EQ(manifest()["filters"][0]["status"], "dead");
  EXPECT_EQ(manifest()["filters"][1]["status"], "ok");
}

// Filter 63 is activated nowhere by noise, nor by the image after the first step; filter 0 has no gradient at
// all.
TEST_F(Cli, FiltersWithoutAGradientAreRescuedUnlessSwitchedOff) {
  write_first_layer("first.safetensors");
  const std::vector<std::string> filters{
      "--weights", "first.safetensors", "block1_conv1:0-2,63", "--step", "100", "--iterations",
      "3",         "--reproducible",    "--animate",           "1"};
  const auto with = [&](std::vector<std::string> more) {
    more.insert(more.begin(), filters.begin(), filters.end());
    return render(more);
  };
  const Outcome rescued = with({"--out", "on"});
  ASSERT_EQ(rescued.exit_code, 0) << rescued.err;
  EXPECT_THAT(rescued.out,
              AllOf(HasSubstr("1 rescued ("), HasSubstr("1 dead ("), HasSubstr(": block1_conv1:0\n")));
  const auto record = manifest("on");
  EXPECT_EQ(record["recipe"]["stages"][0]["objective"]["rescue"], true);
  EXPECT_EQ(record["counts"]["rescued"], 1);
  EXPECT_EQ(record["filters"][0]["status"], "dead");
  EXPECT_EQ(record["filters"][0]["iterations"], 0);
  EXPECT_EQ(record["filters"][1]["status"], "ok");
  EXPECT_FALSE(record["filters"][1].contains("rescued_iterations"));
  EXPECT_EQ(record["filters"][3]["status"], "rescued");
  EXPECT_EQ(record["filters"][3]["first_loss"], 0);
  EXPECT_GT(record["filters"][3]["final_loss"], 0);
  const int iterations = record["filters"][3]["rescued_iterations"];
  EXPECT_GT(iterations, 0);
  EXPECT_EQ(record["filters"][3]["alive_from"], iterations + 1);
  EXPECT_TRUE(exists("on/block1_conv1/block1_conv1_f0063.apng"));

  const Outcome off = with({"--out", "off", "--rescue", "off"});
  ASSERT_EQ(off.exit_code, 0) << off.err;
  EXPECT_THAT(off.out, AllOf(Not(HasSubstr("rescued")),
                             HasSubstr("2 dead (no gradient, or the finished image activates them nowhere): "
                                       "block1_conv1:0,63\n")));
  EXPECT_EQ(manifest("off")["recipe"]["stages"][0]["objective"]["rescue"], false);
  EXPECT_EQ(manifest("off")["filters"][3]["iterations"], 0);
  for (const char* living : {"block1_conv1_f0001.png", "block1_conv1_f0002.png"})
    EXPECT_EQ(read_text(folder_ / "off/block1_conv1" / living),
              read_text(folder_ / "on/block1_conv1" / living));

  const Outcome other = with({"--out", "on", "--rescue", "off"});
  EXPECT_EQ(other.exit_code, 2);
  EXPECT_THAT(other.err, HasSubstr("--rescue"));
  EXPECT_EQ(with({"--out", "on", "--rescue", "yes"}).exit_code, 2);
  EXPECT_THAT(with({"--out", "on"}).out, HasSubstr("Nothing to do"));

  // Resuming and merging read what was written.
  fs::remove(folder_ / "on/block1_conv1/block1_conv1_f0002.png");
  ASSERT_EQ(with({"--out", "on"}).exit_code, 0);
  EXPECT_EQ(manifest("on")["filters"], record["filters"]);
  for (const char* shard : {"1/2", "2/2"})
    ASSERT_EQ(with({"--out", "shares", "--shard", shard}).exit_code, 0);
  const Outcome merged = run({"merge", "shares/shard-1-of-2", "shares/shard-2-of-2", "--out", "merged"});
  ASSERT_EQ(merged.exit_code, 0) << merged.err;
  EXPECT_EQ(manifest("merged")["filters"], record["filters"]);
  EXPECT_EQ(manifest("merged")["counts"], record["counts"]);
  for (const char* file : {"sheet.png", "block1_conv1_f0063.png", "block1_conv1_f0063.apng"})
    EXPECT_EQ(read_text(folder_ / "merged/block1_conv1" / file),
              read_text(folder_ / "on/block1_conv1" / file))
        << file;
  const Outcome refused = run({"merge", "on", "off", "--out", "both"});
  EXPECT_EQ(refused.exit_code, 2);
  EXPECT_THAT(refused.err, HasSubstr("--rescue"));
}

TEST_F(Cli, ReproducibleBytesDoNotDependOnTheSelection) {
  ASSERT_EQ(render({"--reproducible", "block1_conv2:3-9", "block1_conv1:1", "--out", "many"}).exit_code, 0);
  ASSERT_EQ(render({"--reproducible", "block1_conv2:5", "--out", "one"}).exit_code, 0);
  const std::string picture = read_text(folder_ / "one/block1_conv2/block1_conv2_f0005.png");
  EXPECT_FALSE(picture.empty());
  EXPECT_EQ(picture, read_text(folder_ / "many/block1_conv2/block1_conv2_f0005.png"));
}

}  // namespace
}  // namespace filterscope
