// `filterscope render` interrupted by signals, and the program without a reader of its output.

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <string>
#include <thread>

#include "tests/support/program.h"

namespace filterscope {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

class CliInterrupted : public Cli, public ::testing::WithParamInterface<int> {};

TEST_P(CliInterrupted, KeepsWhatIsFinished) {
  const pid_t child = start({"render", "--weights", "synthetic", "--size", "32", "--iterations", "100",
                             "--threads", "1", "--device", "cpu", "--reproducible", "block1_*"});
  wait_for_file(child, "filterscope-out/block1_conv1/block1_conv1_f0000.png");
  kill(child, GetParam());
  const Outcome outcome = wait_for(child);
  EXPECT_EQ(outcome.exit_code, kInterrupted) << outcome.err;
  EXPECT_THAT(outcome.err,
              AllOf(HasSubstr("Ctrl-C again ends at once"), HasSubstr("Interrupted: "),
                    HasSubstr(" of 128 filters"), HasSubstr("filterscope-out/"), HasSubstr("manifest.json")));

  const auto record = manifest();
  EXPECT_EQ(record["complete"], false);
  ASSERT_EQ(record["filters"].size(), 128u);
  EXPECT_NE(record["filters"][0]["status"], "missing");
  EXPECT_EQ(record["filters"].back()["status"], "missing");
  for (const auto& filter : record["filters"]) {
    if (filter["status"] != "missing") {
      EXPECT_TRUE(exists("filterscope-out/" + filter["file"].get<std::string>()));
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Signals, CliInterrupted, ::testing::Values(SIGINT, SIGTERM, SIGHUP, SIGXCPU),
                         [](const auto& test) { return std::string(sigabbrev_np(test.param)); });

// As in `2>&1 | tee log`: Ctrl-C also ends tee, and then nobody reads the messages.
TEST_F(Cli, InterruptedWithoutAReaderKeepsWhatIsFinished) {
  ASSERT_EQ(mkfifo((folder_ / "messages").c_str(), 0600), 0);
  const int reader = open((folder_ / "messages").c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC);
  const pid_t child = start({"render", "--weights", "synthetic", "--size", "32", "--iterations", "100",
                             "--threads", "1", "--device", "cpu", "--reproducible", "block1_*"},
                            "messages", "messages");
  wait_for_file(child, "filterscope-out/block1_conv1/block1_conv1_f0000.png");
  close(reader);
  kill(child, SIGINT);
  EXPECT_EQ(wait_for(child).exit_code, kInterrupted);
  EXPECT_EQ(manifest()["complete"], false);
  EXPECT_TRUE(exists("filterscope-out/block1_conv1/sheet.png"));
  EXPECT_FALSE(exists("filterscope-out/journal.jsonl"));
}

TEST_F(Cli, SecondInterruptEndsAtOnce) {
  // One iteration takes seconds.
  const pid_t child = start({"render", "--weights", "synthetic", "--size", "512", "--iterations", "1000000",
                             "--device", "cpu", "--reproducible", "--batch", "16", "block5_conv3"});
  wait_for_file(child, "filterscope-out/manifest.json");
  kill(child, SIGINT);
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  kill(child, SIGINT);
  EXPECT_EQ(wait_for(child).exit_code, 1000 + SIGINT);
}

// As in `| head`: no message, and an end by SIGPIPE, as a shell expects.
TEST_F(Cli, EndsSilentlyWhenNobodyReadsItsOutput) {
  const std::string pipeline =
      "cd '" + folder_.string() + "' && mkfifo gate && { read x <gate; '" + FILTERSCOPE_PROGRAM +
      "' list --weights synthetic 2>messages; echo $? >code; } | { exec <&-; echo >gate; }";
  ASSERT_EQ(std::system(pipeline.c_str()), 0);
  EXPECT_EQ(read_text(folder_ / "code"), std::to_string(128 + SIGPIPE) + "\n");
  EXPECT_EQ(read_text(folder_ / "messages"), "");
}

}  // namespace
}  // namespace filterscope
