// Full and read-only disks, and files where folders should be, give a clear error, and nothing is
// half-written.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <string>
#include <vector>

#include "tests/support/program.h"

namespace filterscope {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

std::vector<std::string> with(std::vector<std::string> words, const std::vector<std::string>& more) {
  words.insert(words.end(), more.begin(), more.end());
  return words;
}

class CliDisk : public Cli {
 protected:
  /// Mounts a file system at `name` in the test's folder, until the test's process ends. Returns false if
  /// that is not allowed.
  bool mount_disk(const std::string& name, const std::string& size) {
    if (unshare(CLONE_NEWNS) != 0) return false;
    if (mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) return false;
    disk_ = folder_ / name;
    fs::create_directory(disk_);
    return mount("filterscope-test", disk_.c_str(), "tmpfs", 0, ("size=" + size).c_str()) == 0;
  }
  void remount(unsigned long flags, const std::string& size) const {
    ASSERT_EQ(mount("none", disk_.c_str(), nullptr, MS_REMOUNT | flags, ("size=" + size).c_str()), 0)
        << std::strerror(errno);
  }
  void TearDown() override {
    if (!disk_.empty()) umount(disk_.c_str());
    Cli::TearDown();
  }

  const std::vector<std::string> command_{"render",
                                          "--weights",
                                          "synthetic",
                                          "--size",
                                          "32",
                                          "--raw",
                                          "--reproducible",
                                          "--device",
                                          "cpu",
                                          "--iterations",
                                          "2",
                                          "--batch",
                                          "2",
                                          "--threads",
                                          "1",
                                          "block1_conv1:0-23"};

 private:
  fs::path disk_;
};

TEST_F(CliDisk, FullDiskIsAnOutputErrorAndTheRunResumesOnceThereIsRoom) {
  ASSERT_EQ(run(with(command_, {"--out", "whole"})).exit_code, 0);
  if (!mount_disk("disk", "256k")) GTEST_SKIP() << "no file system can be mounted here";
  const Outcome outcome = run(with(command_, {"--out", "disk/out", "--quiet"}));
  EXPECT_EQ(outcome.exit_code, kOutput) << outcome.err;
  EXPECT_THAT(outcome.err, AllOf(HasSubstr("disk/out/"), HasSubstr("No space left"), HasSubstr("--out")));
  EXPECT_EQ(outcome.err.find("error: "), outcome.err.rfind("error: ")) << outcome.err;
  const std::vector<std::string> there = files_of("disk/out");
  EXPECT_THAT(there, ::testing::Contains("manifest.json"));
  for (const std::string& name : there) {
    EXPECT_FALSE(name.ends_with(".tmp")) << name;
    if (name.ends_with(".png") && name.find("sheet") == std::string::npos) {
      EXPECT_TRUE(read_text(folder_ / "disk/out" / name) == read_text(folder_ / "whole" / name)) << name;
    }
  }
  remount(0, "4m");
  const Outcome again = run(with(command_, {"--out", "disk/out"}));
  EXPECT_EQ(again.exit_code, 0) << again.err;
  EXPECT_THAT(again.err, HasSubstr("Already: "));
  ASSERT_EQ(files_of("disk/out"), files_of("whole"));
  for (const std::string& name : files_of("whole")) {
    if (name != "manifest.json" && name != "index.html") {
      EXPECT_TRUE(read_text(folder_ / "disk/out" / name) == read_text(folder_ / "whole" / name)) << name;
    }
  }
  EXPECT_EQ(manifest("disk/out")["filters"], manifest("whole")["filters"]);
}

TEST_F(CliDisk, FullDiskAtTheStartIsAnOutputError) {
  if (!mount_disk("disk", "8k")) GTEST_SKIP() << "no file system can be mounted here";
  EXPECT_THAT(error_of(with(command_, {"--out", "disk/out", "--quiet"}), kOutput),
              AllOf(HasSubstr("disk/out"), HasSubstr("No space left")));
  remount(0, "4m");
  const Outcome again = run(with(command_, {"--out", "disk/out"}));
  EXPECT_EQ(again.exit_code, 0) << again.err;
}

TEST_F(CliDisk, ReadOnlyFolderIsAnOutputError) {
  if (!mount_disk("disk", "4m")) GTEST_SKIP() << "no file system can be mounted here";
  ASSERT_EQ(run(with(command_, {"--out", "disk/out"})).exit_code, 0);
  const std::vector<std::string> before = files_of("disk/out");
  remount(MS_RDONLY, "4m");
  for (const char* out : {"disk/out", "disk/another"})
    EXPECT_THAT(error_of(with(command_, {"--out", out, "--quiet", "block1_conv1:30"}), kOutput),
                AllOf(HasSubstr(out), HasSubstr("Read-only"), HasSubstr("--out")));
  remount(0, "4m");
  EXPECT_EQ(files_of("disk/out"), before);
}

TEST_F(CliDisk, SomethingInTheWayIsAnOutputError) {
  const auto expect_error = [&](const std::string& name) {
    EXPECT_THAT(error_of(with(command_, {"--quiet"}), kOutput), AllOf(HasSubstr(name), HasSubstr("--out")));
  };
  std::ofstream(folder_ / "filterscope-out") << "a file";
  expect_error("filterscope-out");
  fs::remove(folder_ / "filterscope-out");
  for (const char* name : {"block1_conv1", "raw"}) {
    fs::create_directory(folder_ / "filterscope-out");
    std::ofstream(folder_ / "filterscope-out" / name) << "a file";
    expect_error(name);
    EXPECT_THAT(files_of("filterscope-out"), ::testing::ElementsAre(name));
    fs::remove_all(folder_ / "filterscope-out");
  }
  for (const char* name : {"journal.jsonl", "block1_conv1/block1_conv1_f0003.png"}) {
    fs::create_directories(folder_ / "filterscope-out" / name / "something");
    expect_error(name);
    fs::remove_all(folder_ / "filterscope-out");
  }
  for (const char* name : {"manifest.json", "traces.csv"}) {
    fs::create_directories(folder_ / "filterscope-out" / name / "something");
    const Outcome outcome = run(with(command_, {"--quiet"}));
    EXPECT_THAT(outcome.exit_code, ::testing::AnyOf(kInput, kOutput));
    EXPECT_THAT(outcome.err, AllOf(HasSubstr(name), Not(HasSubstr("unexpected"))));
    fs::remove_all(folder_ / "filterscope-out");
  }
}

}  // namespace
}  // namespace filterscope
