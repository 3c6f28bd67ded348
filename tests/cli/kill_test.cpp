// Killed at any moment and started again, the program leaves the same files as an uninterrupted run.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <iostream>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "tests/support/program.h"

namespace filterscope {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

constexpr int kKills = 50;
constexpr int kKillsInARow = 3;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

class CliKilled : public Cli {
 protected:
  // A file as torchvision's with only the first two layers, so that the program starts in no time.
  void write_two_layers(const std::string& name) {
    constexpr std::size_t kFirst = 64 * 3 * 9;
    constexpr std::size_t kSecond = 64 * 64 * 9;
    nlohmann::json header;
    std::size_t offset = 0;
    const auto announce = [&](const char* tensor, const nlohmann::json& shape, std::size_t count) {
      header[tensor] = {{"dtype", "F32"}, {"shape", shape}, {"data_offsets", {offset, offset + 4 * count}}};
      offset += 4 * count;
    };
    announce("features.0.weight", {64, 3, 3, 3}, kFirst);
    announce("features.0.bias", {64}, 64);
    announce("features.2.weight", {64, 64, 3, 3}, kSecond);
    announce("features.2.bias", {64}, 64);
    std::mt19937 random(1);
    std::uniform_real_distribution<float> value(-0.1f, 0.1f);
    std::vector<float> values(offset / 4);
    std::ranges::generate(values, [&] { return value(random); });
    const std::string text = header.dump();
    const std::uint64_t size = text.size();
    std::ofstream stream(folder_ / name, std::ios::binary);
    stream.write(reinterpret_cast<const char*>(&size), 8);
    stream << text;
    stream.write(reinterpret_cast<const char*>(values.data()), static_cast<std::streamsize>(offset));
  }

  static std::vector<std::string> command(const std::vector<std::string>& selectors, const std::string& out) {
    // One filter at a time, so that results come throughout the run.
    std::vector<std::string> words{"render",    "--weights", "two.safetensors", "--size", "32",
                                   "--device",  "cpu",       "--iterations",    "8",      "--reproducible",
                                   "--threads", "1",         "--batch",         "1",      "--raw",
                                   "--animate", "3",         "--out",           out,      "--quiet"};
    words.insert(words.end(), selectors.begin(), selectors.end());
    return words;
  }
};

TEST_F(CliKilled, ThenResumedEqualsAnUninterruptedRun) {
  write_two_layers("two.safetensors");
  const std::vector<std::string> all{"block1_conv1:0-11", "block1_conv2:0-11"};
  const std::vector<std::string> some{"block1_conv1:3-8", "block1_conv2:0,11"};
  ASSERT_EQ(run(command(all, "warm up")).exit_code, 0);
  const auto start_of_run = Clock::now();
  ASSERT_EQ(run(command(all, "whole")).exit_code, 0);
  const double whole_seconds = seconds_since(start_of_run);
  ASSERT_NO_FATAL_FAILURE(expect_same("warm up", "whole"));

  std::mt19937 random(std::random_device{}());
  std::uniform_real_distribution<double> moment(0, whole_seconds);
  int kills = 0;
  int half_done = 0;  // Kills that left some, but not all results.
  for (int trial = 0; kills < kKills; ++trial) {
    ASSERT_LT(trial, 10 * kKills);
    std::string out = "out";
    out += std::to_string(trial);
    std::string story;
    for (int in_a_row = 0; in_a_row < kKillsInARow && kills < kKills; ++in_a_row) {
      // Now and then a smaller selection comes first.
      const auto& selection = in_a_row == 0 && trial % 2 == 1 ? some : all;
      const double seconds = moment(random);
      const pid_t child = start(command(selection, out));
      std::this_thread::sleep_for(std::chrono::duration<double>(seconds));
      kill(child, SIGKILL);
      const Outcome outcome = wait_for(child);
      story += std::to_string(seconds) + (outcome.exit_code == 0 ? " s: done; " : " s: killed; ");
      if (outcome.exit_code == 0) break;
      ASSERT_EQ(outcome.exit_code, 1000 + SIGKILL) << story << outcome.err;
      ++kills;
      const auto lines = lines_of(read_text(folder_ / out / "journal.jsonl"));
      half_done += lines.size() > 2 ? 1 : 0;
    }
    const Outcome outcome = run(command(all, out));
    ASSERT_EQ(outcome.exit_code, 0) << story << outcome.err;
    expect_same(out, "whole");
    ASSERT_FALSE(HasFailure()) << "of one run that takes " << whole_seconds << " s: " << story;
    std::cout << out << ": " << story << "then finished: the same bytes\n";
    fs::remove_all(folder_ / out);
  }
  std::cout << kills << " kills, " << half_done << " of them with results already there, of a run that takes "
            << whole_seconds << " s\n";
  EXPECT_GE(half_done, kKills / 10) << "the moments were not where it matters";
}

// Kills the program between any two changes to the file system, at moments too short to be hit by chance.
class CliKilledAtEachChange : public CliKilled, public ::testing::WithParamInterface<const char*> {
 protected:
  int finish_killed_at(int change, const std::vector<std::string>& words) {
    environment_ = {{"LD_PRELOAD", FILTERSCOPE_KILL_AT_LIBRARY},
                    {"ASAN_OPTIONS", "verify_asan_link_order=0"},
                    {"FILTERSCOPE_KILL_AT", std::to_string(change)}};
    const Outcome outcome = run(words);
    environment_.clear();
    return outcome.exit_code;
  }
};

TEST_P(CliKilledAtEachChange, ThenResumedEqualsAnUninterruptedRun) {
  write_two_layers("two.safetensors");
  const std::vector<std::string> all{"block1_conv1:3,8", "block1_conv2:0,11"};
  ASSERT_EQ(run(command(all, "whole")).exit_code, 0);
  int change = 1;
  for (;; ++change) {
    ASSERT_LT(change, 1000);
    const std::string before = GetParam();
    if (!before.empty()) {
      ASSERT_EQ(run(command({before}, "out")).exit_code, 0);
    }
    const int exit_code = finish_killed_at(change, command(all, "out"));
    if (exit_code == 0) break;
    ASSERT_EQ(exit_code, 1000 + SIGKILL);
    const Outcome again = run(command(all, "out"));
    ASSERT_EQ(again.exit_code, 0) << "change " << change << ": " << again.err;
    expect_same("out", "whole");
    ASSERT_FALSE(HasFailure()) << "change " << change;
    fs::remove_all(folder_ / "out");
  }
  expect_same("out", "whole");
  EXPECT_GT(change, 40) << "the changes are not counted";
  RecordProperty("changes", change - 1);
}

INSTANTIATE_TEST_SUITE_P(Folder, CliKilledAtEachChange, ::testing::Values("", "block1_conv1:8"),
                         [](const auto& test) { return *test.param == 0 ? "Empty" : "OfASmallerSelection"; });

}  // namespace
}  // namespace filterscope
