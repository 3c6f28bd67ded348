// `filterscope render` in a folder that already holds results.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <map>
#include <string>
#include <vector>

#include "tests/support/program.h"

namespace filterscope {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::HasSubstr;

TEST_F(Cli, TheSameCommandAgainRendersWhatIsMissing) {
  const std::vector<std::string> command{"block1_conv1:0-3", "--reproducible", "--threads", "1"};
  ASSERT_EQ(render(command).exit_code, 0);
  const auto before = manifest();
  const std::string picture = "filterscope-out/block1_conv1/block1_conv1_f0002.png";
  const std::string bytes = read_text(folder_ / picture);
  const Outcome nothing = render(command);
  EXPECT_EQ(nothing.exit_code, 0);
  EXPECT_THAT(nothing.out, AllOf(HasSubstr("Nothing to do: all 4 filters are"), HasSubstr("filterscope-out/"),
                                 HasSubstr("--force")));
  EXPECT_EQ(nothing.err, "");
  fs::remove(folder_ / picture);
  const Outcome one = render(command);
  EXPECT_EQ(one.exit_code, 0);
  EXPECT_THAT(one.out, HasSubstr("1 filter in "));
  EXPECT_THAT(one.err,
              AllOf(HasSubstr("1 filter of 1 layer"), HasSubstr("Already: 3 filters of the selection")));
  EXPECT_EQ(read_text(folder_ / picture), bytes);
  EXPECT_EQ(manifest()["filters"], before["filters"]);
  EXPECT_EQ(manifest()["command_lines"], before["command_lines"]);
}

TEST_F(Cli, MoreFiltersAreAdded) {
  ASSERT_EQ(render({"block1_conv1:0-1"}).exit_code, 0);
  ASSERT_EQ(render({"block1_conv1:1-2", "block1_conv2:5", "--batch", "1"}).exit_code, 0);
  const auto record = manifest();
  EXPECT_EQ(record["complete"], true);
  EXPECT_EQ(record["counts"]["ok"], 4);
  EXPECT_EQ(record["command_lines"].size(), 2u);
  EXPECT_EQ(lines_of(read_text(folder_ / "filterscope-out/traces.csv")).size(), 9u);
}

TEST_F(Cli, OtherSettingsAreRefusedAndForced) {
  ASSERT_EQ(render({"block1_conv1:0-1"}).exit_code, 0);
  const std::string before = read_text(folder_ / "filterscope-out/manifest.json");
  const Outcome refused = render({"block1_conv1:0-1", "--iterations", "3", "--seed", "1"});
  EXPECT_EQ(refused.exit_code, kUsage);
  EXPECT_THAT(refused.err, AllOf(HasSubstr("--iterations: 2 then, 3 now"), HasSubstr("--seed: 0 then, 1 now"),
                                 HasSubstr("filterscope-out"), HasSubstr("--force")));
  EXPECT_EQ(read_text(folder_ / "filterscope-out/manifest.json"), before);
  const Outcome forced = render({"block1_conv1:1", "--iterations", "3", "--force"});
  EXPECT_EQ(forced.exit_code, 0) << forced.err;
  EXPECT_EQ(manifest()["iterations"], 3);
  EXPECT_EQ(manifest()["filters"].size(), 1u);
}

TEST_F(Cli, StartImagesStayWithTheirFilters) {
  write_npy("each.npy", {3, 32, 32, 3}, 0.f);
  std::fstream file(folder_ / "each.npy", std::ios::binary | std::ios::in | std::ios::out);
  for (int value = 0; value < 3 * 32 * 32 * 3; ++value) {
    const float start = static_cast<float>((value * 7919) % 1000) / 1000;
    file.seekp(128 + value * 4);
    file.write(reinterpret_cast<const char*>(&start), 4);
  }
  file.close();
  const std::vector<std::string> command{"block1_conv1:3,10,20", "--init", "each.npy", "--reproducible"};
  ASSERT_EQ(render(command).exit_code, 0);
  std::map<std::string, std::string> pictures;
  for (const char* number : {"0003", "0010", "0020"}) {
    const std::string name = std::string("filterscope-out/block1_conv1/block1_conv1_f") + number + ".png";
    pictures[name] = read_text(folder_ / name);
  }
  fs::remove(folder_ / "filterscope-out/block1_conv1/block1_conv1_f0010.png");
  fs::remove(folder_ / "filterscope-out/block1_conv1/block1_conv1_f0020.png");
  const Outcome again = render(command);
  ASSERT_EQ(again.exit_code, 0) << again.err;
  for (const auto& [name, bytes] : pictures) EXPECT_EQ(read_text(folder_ / name), bytes) << name;

  const Outcome others = render({"block1_conv1:3,10,21", "--init", "each.npy", "--reproducible"});
  EXPECT_EQ(others.exit_code, kUsage);
  EXPECT_THAT(others.err, HasSubstr("block1_conv1:3,10,20 then, block1_conv1:3,10,21 now"));
}

TEST_F(Cli, AFolderIsWrittenByOneProcessAtATime) {
  const pid_t child = start({"render", "--weights", "synthetic", "--size", "128", "--iterations", "1000000",
                             "--device", "cpu", "--reproducible", "block5_conv3"});
  wait_for_file(child, "filterscope-out/manifest.json");
  const std::vector<std::string> words{"render", "--weights", "synthetic", "--size", "32", "block1_conv1:0"};
  EXPECT_THAT(error_of(words, kOutput), HasSubstr("another filterscope is writing to this folder"));
  kill(child, SIGKILL);
  waitpid(child, nullptr, 0);
}

}  // namespace
}  // namespace filterscope
