// Shares of a selection, and merging their folders.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "host/base/error.h"
#include "host/cli/shard.h"
#include "tests/support/program.h"

namespace filterscope {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

std::vector<std::string> operator+(std::vector<std::string> words, const std::vector<std::string>& more) {
  words.insert(words.end(), more.begin(), more.end());
  return words;
}

class CliMerge : public Cli {
 protected:
  const std::vector<std::string> filters_{"block1_conv1:0-8,60", "block1_conv2:3,4", "block2_conv1:1,100"};
  const std::vector<std::string> options_{"--reproducible", "--raw", "--animate", "--threads", "1"};
};

TEST_F(CliMerge, MergedSharesEqualOneRun) {
  ASSERT_EQ(render(filters_ + options_ + std::vector<std::string>{"--out", "whole"}).exit_code, 0);
  for (const char* shard : {"1/3", "2/3", "3/3"}) {
    const Outcome outcome =
        render(filters_ + options_ + std::vector<std::string>{"--out", "shares", "--shard", shard});
    ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
    EXPECT_FALSE(exists("shares/index.html"));
  }
  const Outcome merged =
      run({"merge", "shares/shard-1-of-3", "shares/shard-2-of-3", "shares/shard-3-of-3", "--out", "merged"});
  ASSERT_EQ(merged.exit_code, 0) << merged.err;
  EXPECT_EQ(merged.err, "");
  EXPECT_THAT(merged.out, AllOf(HasSubstr("14 filters of 3 folders"), HasSubstr("merged/")));
  expect_same("merged", "whole");
  EXPECT_EQ(manifest("merged")["complete"], true);
  EXPECT_EQ(manifest("merged")["command_lines"].size(), 4u);
  // Merging itself takes time, too.
  const auto before_finish = [&](const char* folder) {
    const auto of_folder = manifest(folder);
    return of_folder["wall_seconds"].get<double>() - of_folder["phases"]["finish"].get<double>();
  };
  EXPECT_NEAR(before_finish("merged"),
              before_finish("shares/shard-1-of-3") + before_finish("shares/shard-2-of-3") +
                  before_finish("shares/shard-3-of-3"),
              0.01);
  const auto ascent = [&](const char* folder) { return manifest(folder)["phases"]["ascent"].get<double>(); };
  EXPECT_NEAR(ascent("merged"),
              ascent("shares/shard-1-of-3") + ascent("shares/shard-2-of-3") + ascent("shares/shard-3-of-3"),
              0.01);

  // Two of three: the filters of the third are unknown, but it is known to be absent.
  const Outcome part = run({"merge", "shares/shard-3-of-3/", "shares/shard-1-of-3", "--out", "part"});
  EXPECT_EQ(part.exit_code, 0);
  EXPECT_THAT(part.err, HasSubstr("Note: 1 share is not among the folders: shard-2-of-3."));

  // Merged one after the other, and together with one from another set of shares.
  EXPECT_THAT(run({"merge", "shares/shard-1-of-3", "--out", "later"}).err, HasSubstr("Note: 2 shares are"));
  EXPECT_THAT(run({"merge", "shares/shard-2-of-3", "--out", "later"}).err,
              HasSubstr("Note: 1 share is not among the folders: shard-3-of-3."));
  const Outcome last = run({"merge", "shares/shard-3-of-3", "--out", "later"});
  EXPECT_EQ(last.err, "");
  EXPECT_THAT(last.out, HasSubstr("in later/, 14 in all"));
  fs::copy(folder_ / "shares/shard-1-of-3", folder_ / "shares/shard-1-of-2", fs::copy_options::recursive);
  EXPECT_EQ(run({"merge", "shares/shard-1-of-2", "--out", "later"}).err, "");
  // The folder of --out is not one of those merged.
  for (const std::vector<std::string>& out :
       {std::vector<std::string>{"--out", "elsewhere/shard-2-of-3"}, {"--out=elsewhere too/shard-2-of-3"}}) {
    const Outcome other = run(std::vector<std::string>{"merge", "shares/shard-1-of-3"} + out);
    EXPECT_THAT(other.err,
                HasSubstr("Note: 2 shares are not among the folders: shard-2-of-3, shard-3-of-3."));
  }
  expect_same("later", "whole");

  // Into a folder that already has a part, and is one of those to be merged.
  ASSERT_EQ(run({"merge", "shares/shard-1-of-3", "shares/shard-2-of-3", "shares/shard-3-of-3", "--out",
                 "shares/shard-1-of-3", "--quiet"})
                .exit_code,
            0);
  expect_same("shares/shard-1-of-3", "whole");
}

TEST_F(CliMerge, EveryFilterIsInOneShare) {
  for (const char* shard : {"1/5", "2/5", "3/5", "4/5", "5/5"}) {
    const Outcome outcome =
        render({"block1_conv1:0-2", "block1_conv2:0", "--shard", shard, "--out", "shares"});
    ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  }
  std::vector<std::string> seen;
  for (const char* index : {"1", "2", "3", "4", "5"}) {
    const auto record = manifest(std::string("shares/shard-") + index + "-of-5");
    for (const auto& filter : record["filters"]) seen.push_back(filter["file"]);
  }
  std::ranges::sort(seen);
  EXPECT_THAT(seen, ::testing::ElementsAre(
                        "block1_conv1/block1_conv1_f0000.png", "block1_conv1/block1_conv1_f0001.png",
                        "block1_conv1/block1_conv1_f0002.png", "block1_conv2/block1_conv2_f0000.png"));
}

TEST_F(CliMerge, FiltersThatACompleteSetOfSharesLacksAreMissing) {
  const std::vector<std::string> selection{"block1_conv1:0,1", "block1_conv2:0,1"};
  std::vector<std::string> shares;
  for (const char* shard : {"1/2", "2/2"}) {
    ASSERT_EQ(render(selection + std::vector<std::string>{"--shard", shard, "--out", "shares"}).exit_code, 0);
    shares.push_back(std::string("shares/shard-") + shard[0] + "-of-2");
  }
  // As if the first share had been cut one filter earlier.
  auto json = nlohmann::ordered_json::parse(read_text(folder_ / shares[0] / "manifest.json"));
  json["filters"].erase(json["filters"].end() - 1);
  std::ofstream(folder_ / shares[0] / "manifest.json") << json;
  const std::size_t kept = json["filters"].size() + manifest(shares[1])["filters"].size();
  ASSERT_EQ(kept, 3u);
  const Outcome merged =
      run(std::vector<std::string>{"merge"} + shares + std::vector<std::string>{"--out", "merged"});
  EXPECT_EQ(merged.exit_code, 0);
  EXPECT_THAT(merged.err, HasSubstr("Note: 1 filter was selected, but no folder holds it undamaged"));
  EXPECT_EQ(manifest("merged")["complete"], false);
  // The same command cuts the shares as this version does.
  ASSERT_EQ(render(selection + std::vector<std::string>{"--shard", "1/2", "--out", "shares"}).exit_code, 0);
  EXPECT_EQ(run(std::vector<std::string>{"merge"} + shares + std::vector<std::string>{"--out", "merged"}).err,
            "");
  EXPECT_EQ(manifest("merged")["complete"], true);
}

TEST_F(CliMerge, MoreSharesThanFiltersAreReported) {
  const Outcome outcome = render({"block1_conv1:0-1", "--shard", "2/3", "--out", "shares"});
  EXPECT_EQ(outcome.exit_code, 0);
  EXPECT_EQ(outcome.out, "Nothing to do: 2 filters cannot fill 3 shares; share 2 is empty\n");
  EXPECT_THAT(render({"block1_conv1:0-1", "block1_conv2:0,1", "--shard", "2/3", "--out", "shares"}).err,
              HasSubstr("1 of 4 filters"));
}

TEST_F(CliMerge, StartImagesGoToTheSharesOfTheirFilters) {
  write_npy("each.npy", {3, 32, 32, 3}, 0.25f);
  const std::vector<std::string> command{"block1_conv1:3,10", "block1_conv2:20", "--init", "each.npy",
                                         "--reproducible"};
  ASSERT_EQ(render(command + std::vector<std::string>{"--out", "whole"}).exit_code, 0);
  for (const char* shard : {"1/2", "2/2"})
    ASSERT_EQ(render(command + std::vector<std::string>{"--out", "shares", "--shard", shard}).exit_code, 0);
  ASSERT_EQ(run({"merge", "shares/shard-1-of-2", "shares/shard-2-of-2", "--out", "merged"}).exit_code, 0);
  expect_same("merged", "whole");
}

TEST_F(CliMerge, MissingFiltersAreReportedAndAddedLater) {
  ASSERT_EQ(render({"block1_conv1:0-3", "--out", "a"}).exit_code, 0);
  ASSERT_EQ(render({"block1_conv1:3-5", "--out", "b"}).exit_code, 0);
  fs::remove(folder_ / "b/block1_conv1/block1_conv1_f0005.png");
  const Outcome first = run({"merge", "a", "b"});
  EXPECT_EQ(first.exit_code, 0);
  EXPECT_THAT(first.out, HasSubstr("5 filters of 2 folders"));
  EXPECT_THAT(first.err, HasSubstr("Note: 1 filter was selected, but no folder holds it undamaged"));
  EXPECT_EQ(manifest()["complete"], false);
  ASSERT_EQ(render({"block1_conv1:3-5", "--out", "b"}).exit_code, 0);
  const Outcome second = run({"merge", "a", "b"});
  EXPECT_EQ(second.exit_code, 0);
  EXPECT_EQ(second.err, "");
  EXPECT_EQ(manifest()["complete"], true);
  EXPECT_EQ(manifest()["counts"]["ok"], 6);
}

TEST_F(CliMerge, DamagedFilesAreNamed) {
  ASSERT_EQ(render({"block1_conv1:0-3", "--raw", "--out", "a"}).exit_code, 0);
  ASSERT_EQ(render({"block1_conv1:4", "--animate", "1", "--out", "b"}).exit_code, 0);
  EXPECT_EQ(run({"merge", "a", "b", "--out", "whole"}).err, "");
  std::ofstream(folder_ / "a/block1_conv1/block1_conv1_f0002.png") << "cut off";
  fs::resize_file(folder_ / "a/raw/block1_conv1.npy", 200);
  fs::remove(folder_ / "b/block1_conv1/block1_conv1_f0004.apng");
  const Outcome outcome = run({"merge", "a", "b"});
  EXPECT_EQ(outcome.exit_code, 0);
  EXPECT_THAT(outcome.err,
              AllOf(HasSubstr("Note: of a, 2 files are missing or damaged, and left out: "
                              "block1_conv1/block1_conv1_f0002.png, raw/block1_conv1.npy."),
                    HasSubstr("Note: of b, 1 file is missing or damaged, and left out: block1_conv1/"),
                    HasSubstr("1 filter was selected, but no folder holds it undamaged")));
  EXPECT_EQ(manifest()["counts"]["ok"], 4);
}

// A folder may still be being copied, so it is refused; if the losses are lost, they can be given up.
TEST_F(CliMerge, SharesWithoutTheirLossesAreRefused) {
  ASSERT_EQ(render({"block1_conv1:0", "--out", "one"}).exit_code, 0);
  ASSERT_EQ(render({"block1_conv1:1", "--out", "other"}).exit_code, 0);
  fs::remove(folder_ / "other/traces.csv");
  EXPECT_THAT(error_of({"merge", "one", "other", "--out", "both"}, kInput),
              AllOf(HasSubstr("other: expected traces.csv"), HasSubstr("copy the whole folder")));
  EXPECT_FALSE(exists("both"));
  ASSERT_EQ(render({"block1_conv1:1", "--out", "other"}).exit_code, 0);
  EXPECT_EQ(run({"merge", "one", "other", "--out", "both"}).exit_code, 0);

  fs::remove(folder_ / "both/traces.csv");
  const Outcome again = run({"merge", "one", "other", "--out", "both"});
  EXPECT_EQ(again.exit_code, 0);
  EXPECT_THAT(again.err, HasSubstr("both/traces.csv is missing"));
}

TEST_F(CliMerge, FoldersThatDoNotBelongTogetherAreRefused) {
  ASSERT_EQ(render({"block1_conv1:0", "--out", "a"}).exit_code, 0);
  ASSERT_EQ(render({"block1_conv1:1", "--out", "b", "--seed", "7", "--iterations", "3"}).exit_code, 0);
  EXPECT_THAT(
      error_of({"merge", "a", "b"}, kUsage),
      AllOf(HasSubstr("a and b do not belong together"), HasSubstr("--seed: 0 in the first, 7 in the second"),
            HasSubstr("--iterations: 2 in the first, 3 in the second"), Not(HasSubstr("--size"))));
  EXPECT_FALSE(exists("filterscope-out"));
  EXPECT_THAT(error_of({"merge", "b", "--out", "a"}, kUsage), HasSubstr("--seed: 0 then, 7 now"));
  EXPECT_EQ(run({"merge", "b", "--out", "a", "--force"}).exit_code, 0);
  EXPECT_EQ(manifest("a")["seed"], 7);
}

TEST_F(CliMerge, ForeignPagesAreNotReplaced) {
  ASSERT_EQ(render({"block1_conv1:0", "--out", "one"}).exit_code, 0);
  ASSERT_EQ(render({"block1_conv1:1", "--out", "other"}).exit_code, 0);
  fs::create_directory(folder_ / "site");
  std::ofstream(folder_ / "site/index.html") << "mine";
  for (const char* command : {"merge", "gallery"}) {
    EXPECT_THAT(error_of({command, "one", "other", "--out", "site"}, kUsage),
                AllOf(HasSubstr("--out site"), HasSubstr("index.html")));
    EXPECT_EQ(read_text(folder_ / "site/index.html"), "mine");
    // A page written by the program is replaced.
    for (int time = 0; time < 2; ++time)
      EXPECT_EQ(run({command, "one", "other", "--out", std::string("own ") + command}).exit_code, 0);
  }
}

TEST_F(CliMerge, FoldersWithoutResultsAreRefused) {
  EXPECT_THAT(error_of({"merge"}, kUsage), HasSubstr("found none"));
  EXPECT_THAT(error_of({"merge", ""}, kUsage), HasSubstr("DIR"));
  EXPECT_THAT(
      error_of({"merge", "nowhere"}, kInput),
      HasSubstr("nowhere: expected a folder that `filterscope render` wrote, found nothing of that name"));
  fs::create_directory(folder_ / "bad");
  std::ofstream(folder_ / "bad/manifest.json") << "{}";
  EXPECT_THAT(error_of({"merge", "bad"}, kInput), HasSubstr("bad/manifest.json"));
  ASSERT_EQ(render({"block1_conv1:0", "--out", "a"}).exit_code, 0);
  std::ofstream(folder_ / "file") << "in the way";
  EXPECT_THAT(error_of({"merge", "file"}, kInput), HasSubstr("found a file"));
  EXPECT_THAT(error_of({"gallery", "file"}, kInput), HasSubstr("found a file"));
  EXPECT_THAT(error_of({"merge", "."}, kInput), HasSubstr("found no manifest.json in it"));
  EXPECT_THAT(error_of({"merge", "a", "--out", "file"}, kOutput), HasSubstr("file"));
  EXPECT_THAT(run({"merge", "--help"}).out, AllOf(HasSubstr("--out DIR"), HasSubstr("Exit codes")));
}

TEST_F(CliMerge, SharesComeFromTheLauncher) {
  environment_ = {{"OMPI_COMM_WORLD_RANK", "1"}, {"OMPI_COMM_WORLD_SIZE", "12"}};
  ASSERT_EQ(render({"block1_conv1", "--shard", "auto", "--out", "shares"}).exit_code, 0);
  EXPECT_TRUE(exists("shares/shard-02-of-12/manifest.json"));
}

// --- --shard ---

using Variables = std::map<std::string, std::string>;

std::string parsed(const std::string& text, const Variables& variables = {}) {
  try {
    const Shard shard = cli::parse_shard(text, [&](const char* name) -> std::optional<std::string> {
      const auto found = variables.find(name);
      return found == variables.end() ? std::nullopt : std::optional(found->second);
    });
    return std::to_string(shard.index) + "/" + std::to_string(shard.count);
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::usage);
    return error.what();
  }
}

TEST(CliShard, ParsesIndexAndCount) {
  EXPECT_EQ(parsed("1/1"), "1/1");
  EXPECT_EQ(parsed("4/4"), "4/4");
  EXPECT_EQ(parsed("17/100000"), "17/100000");
  for (const char* bad : {"", "1", "/", "0/4", "5/4", "-1/4", "1/0", "1/4/2", "a/b", "1/100001", "1 /4"})
    EXPECT_THAT(parsed(bad),
                AllOf(HasSubstr("--shard"), HasSubstr("1/4"), HasSubstr('"' + std::string(bad) + '"')));
}

TEST(CliShard, ComesFromMpiAndSlurm) {
  const Variables array{{"SLURM_ARRAY_TASK_ID", "5"},
                        {"SLURM_ARRAY_TASK_MIN", "3"},
                        {"SLURM_ARRAY_TASK_MAX", "9"},
                        {"SLURM_ARRAY_TASK_STEP", "2"},
                        {"SLURM_ARRAY_TASK_COUNT", "4"}};
  const Variables open_mpi{{"OMPI_COMM_WORLD_RANK", "0"}, {"OMPI_COMM_WORLD_SIZE", "3"}};
  EXPECT_EQ(parsed("auto", open_mpi), "1/3");
  EXPECT_EQ(parsed("auto", {{"PMI_RANK", "2"}, {"PMI_SIZE", "3"}}), "3/3");
  EXPECT_EQ(parsed("auto", {{"SLURM_PROCID", "1"}, {"SLURM_STEP_NUM_TASKS", "2"}}), "2/2");
  EXPECT_EQ(parsed("auto", array), "2/4");
  // The daemons of mpirun were started by srun.
  Variables both = open_mpi;
  both.insert({{"SLURM_PROCID", "1"}, {"SLURM_STEP_NUM_TASKS", "2"}});
  EXPECT_EQ(parsed("auto", both), "1/3");
  // Each task of an array starts ranks.
  Variables nested = array;
  nested.insert({{"SLURM_PROCID", "1"}, {"SLURM_STEP_NUM_TASKS", "2"}});
  EXPECT_EQ(parsed("auto", nested), "4/8");
  // A batch script of Slurm has a SLURM_PROCID, but is not a step.
  EXPECT_THAT(parsed("auto", {{"SLURM_PROCID", "0"}, {"SLURM_NTASKS", "8"}}), HasSubstr("found none"));
}

TEST(CliShard, RefusesLaunchersWithoutTheirVariables) {
  EXPECT_THAT(parsed("auto"), AllOf(HasSubstr("--shard auto"), HasSubstr("SLURM_ARRAY_TASK_ID"),
                                    HasSubstr("OMPI_COMM_WORLD_RANK"), HasSubstr("I/N")));
  EXPECT_THAT(parsed("auto", {{"OMPI_COMM_WORLD_RANK", "3"}, {"OMPI_COMM_WORLD_SIZE", "3"}}),
              HasSubstr("$OMPI_COMM_WORLD_RANK"));
  EXPECT_THAT(parsed("auto", {{"PMI_RANK", "x"}, {"PMI_SIZE", "3"}}), HasSubstr("$PMI_RANK"));
  EXPECT_THAT(parsed("auto", {{"SLURM_ARRAY_TASK_ID", "1"}}), HasSubstr("SLURM_ARRAY_TASK_MIN"));
  // --array=3,5,9
  EXPECT_THAT(parsed("auto", {{"SLURM_ARRAY_TASK_ID", "5"},
                              {"SLURM_ARRAY_TASK_MIN", "3"},
                              {"SLURM_ARRAY_TASK_MAX", "9"},
                              {"SLURM_ARRAY_TASK_STEP", "1"},
                              {"SLURM_ARRAY_TASK_COUNT", "3"}}),
              HasSubstr("one range"));
}

TEST(CliShard, NamesItsFolder) {
  EXPECT_EQ(cli::shard_folder({1, 4}), "shard-1-of-4");
  EXPECT_EQ(cli::shard_folder({7, 16}), "shard-07-of-16");
  const auto share = cli::shard_of_folder("shard-07-of-16");
  ASSERT_TRUE(share);
  EXPECT_EQ(share->index, 7);
  EXPECT_EQ(share->count, 16);
  for (const char* name :
       {"", "shard-7-of-16", "shard-0-of-4", "shard-5-of-4", "shard-1", "shard-auto-of-4", "my shard-1-of-4"})
    EXPECT_FALSE(cli::shard_of_folder(name)) << name;
}

}  // namespace
}  // namespace filterscope
