// Under any limits and permissions, the program gives correct results or a helpful message, and nothing is
// half-written.

#include <fcntl.h>
#include <gmock/gmock.h>
#include <grp.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "tests/support/program.h"

namespace filterscope {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::AnyOf;
using ::testing::HasSubstr;
using ::testing::Not;

#if defined(__SANITIZE_ADDRESS__)
constexpr bool kAddressSanitizer = true;
#else
constexpr bool kAddressSanitizer = false;
#endif

void set_limit(decltype(RLIMIT_AS) resource, rlim_t value) {
  const rlimit limit{value, value};
  if (setrlimit(resource, &limit) != 0) _exit(126);
}

/// For tests that root's rights would defeat; the user may have no access to the program.
void be_an_ordinary_user() {
  constexpr unsigned kNobody = 65534;
  if (geteuid() == 0 && (setgroups(0, nullptr) != 0 || setgid(kNobody) != 0 || setuid(kNobody) != 0))
    _exit(127);
}

class CliLimits : public Cli {
 protected:
  void SetUp() override {
    Cli::SetUp();
    write_first_layer("first.safetensors");
    // The leak checker needs further processes.
    environment_["ASAN_OPTIONS"] = "detect_leaks=0";
  }

  static std::vector<std::string> command(const std::string& out, const std::string& filters = "1-3",
                                          const std::string& iterations = "2") {
    return {"render",
            "--weights",
            "first.safetensors",
            "--size",
            "64",
            "--iterations",
            iterations,
            "--raw",
            "--animate",
            "--device",
            "cpu",
            "--out",
            out,
            "--threads",
            "1",
            "--batch",
            "1",
            "--reproducible",
            "block1_conv1:" + filters};
  }

  // Prints more than a buffer holds.
  static std::vector<std::string> verbose_command(const std::string& out) {
    std::vector<std::string> words = command(out, "1-3", "80");
    words.insert(words.end(), {"--verbose", "--trace-every=1"});
    return words;
  }

  Outcome run_limited(decltype(RLIMIT_AS) resource, rlim_t value, const std::vector<std::string>& words) {
    prepare_ = [=] { set_limit(resource, value); };
    const Outcome outcome = run(words);
    prepare_ = nullptr;
    return outcome;
  }

  // Whether the program's libraries can be loaded and initialised in so much memory.
  bool starts_within(rlim_t bytes) { return run_limited(RLIMIT_AS, bytes, {"--version"}).exit_code == 0; }

  // Expects results or a message with `advice` from a run with a limit, and that the same command without the
  // limit completes them. Returns whether the first run was complete.
  bool expect_whole_or_advice(decltype(RLIMIT_AS) resource, rlim_t value, const std::string& advice) {
    SCOPED_TRACE(value);
    const Outcome outcome = run_limited(resource, value, command("out"));
    // The program's libraries cannot even be loaded.
    if (outcome.exit_code == 127 || (resource == RLIMIT_AS && !starts_within(value))) return false;
    // kInput if the folders to be merged cannot be read.
    EXPECT_THAT(outcome.exit_code, AnyOf(0, kInput, kDevice, kOutput));
    if (outcome.exit_code != 0) {
      EXPECT_THAT(outcome.err, AllOf(HasSubstr("filterscope: error: "), HasSubstr(advice),
                                     Not(HasSubstr("unexpected")), Not(HasSubstr("damaged"))));
      expect_no_temporary_files();
      const Outcome again = run(command("out"));
      EXPECT_EQ(again.exit_code, 0) << again.err;
    }
    expect_same("out", "whole");
    fs::remove_all(folder_ / "out");
    return outcome.exit_code == 0;
  }

  void expect_no_temporary_files() {
    if (!exists("out")) return;
    for (const std::string& name : files_of("out")) EXPECT_FALSE(name.ends_with(".tmp")) << name;
  }
};

// --- Descriptors ---

TEST_F(CliLimits, StandardStreamsMayBeClosed) {
  ASSERT_EQ(run(command("whole")).exit_code, 0);
  for (int closed = 1; closed < 8; ++closed) {
    prepare_ = [closed] {
      for (int descriptor = 0; descriptor < 3; ++descriptor)
        if ((closed >> descriptor & 1) != 0) close(descriptor);
    };
    EXPECT_EQ(run(command("out")).exit_code, 0) << closed;
    expect_same("out", "whole");
    fs::remove_all(folder_ / "out");
  }
}

TEST_F(CliLimits, OutputThatCannotBePrintedDoesNotEndARun) {
  ASSERT_EQ(run(verbose_command("whole")).exit_code, 0);
  for (const char* place : {"/dev/null", "/dev/full"}) {
    // Opened for reading, or full.
    prepare_ = [place] {
      dup2(open(place, std::string(place) == "/dev/null" ? O_RDONLY : O_WRONLY), STDOUT_FILENO);
    };
    const Outcome outcome = run(verbose_command("out"));
    EXPECT_EQ(outcome.exit_code, kOutput) << outcome.err;
    EXPECT_THAT(outcome.err, HasSubstr("standard output: could not be written: "));
    expect_same("out", "whole");
    fs::remove_all(folder_ / "out");
  }
  prepare_ = [] { dup2(open("/dev/full", O_WRONLY), STDERR_FILENO); };
  EXPECT_EQ(run(verbose_command("out")).exit_code, 0);
  expect_same("out", "whole");
}

// As in `2>&1 | head -1`.
TEST_F(CliLimits, OutputThatNobodyReadsDoesNotEndARun) {
  ASSERT_EQ(run(verbose_command("whole")).exit_code, 0);
  ASSERT_EQ(mkfifo((folder_ / "messages").c_str(), 0600), 0);
  const int reader = open((folder_ / "messages").c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC);
  prepare_ = [reader] { close(reader); };
  const pid_t child = start(verbose_command("out"), "messages", "messages");
  close(reader);
  EXPECT_EQ(wait_for(child).exit_code, 1000 + SIGPIPE);
  prepare_ = nullptr;
  expect_same("out", "whole");
}

TEST_F(CliLimits, FewOpenFiles) {
  ASSERT_EQ(run(command("whole")).exit_code, 0);
  bool whole = false;
  for (rlim_t files = 4; files < 20 && !whole; ++files) {
    whole = expect_whole_or_advice(RLIMIT_NOFILE, files, "raise the limit of open files (`ulimit -n`, now ");
    // Results that cannot be opened are not forgotten.
    ASSERT_EQ(run(command("out", "1-2")).exit_code, 0);
    run_limited(RLIMIT_NOFILE, files, command("out", "3"));
    EXPECT_EQ(run(command("out", "3")).exit_code, 0);
    expect_same("out", "whole");
    fs::remove_all(folder_ / "out");
  }
  EXPECT_TRUE(whole);
}

// --- Sizes ---

TEST_F(CliLimits, SmallFiles) {
  ASSERT_EQ(run(command("whole")).exit_code, 0);
  // The limit also holds for stderr.txt.
  for (const rlim_t bytes : {1000, 3000, 6000, 20'000, 40'000, 60'000})
    expect_whole_or_advice(RLIMIT_FSIZE, bytes, "raise the limit of file sizes (`ulimit -f`, now ");
}

TEST_F(CliLimits, FinishedFiltersOutliveASmallLimitOfFileSizes) {
  ASSERT_EQ(run(command("out", "1-2")).exit_code, 0);
  EXPECT_EQ(run_limited(RLIMIT_FSIZE, 10'000, command("out")).exit_code, kOutput);
  expect_no_temporary_files();
  for (const char* file :
       {"out/block1_conv1/block1_conv1_f0001.png", "out/block1_conv1/block1_conv1_f0002.png"})
    EXPECT_TRUE(exists(file)) << file;
  const Outcome again = run(command("out"));
  EXPECT_EQ(again.exit_code, 0);
  EXPECT_THAT(again.err, HasSubstr("Already: 2 filters"));
}

TEST_F(CliLimits, LittleMemory) {
  if (kAddressSanitizer) GTEST_SKIP() << "the address sanitizer needs all address space";
  ASSERT_EQ(run(command("whole")).exit_code, 0);
  bool whole = false;
  for (rlim_t megabytes = 40; megabytes < 1000 && !whole; megabytes += 8)
    whole = expect_whole_or_advice(RLIMIT_AS, megabytes * 1'000'000, "memory");
  EXPECT_TRUE(whole);
  std::ofstream(folder_ / "some.h5", std::ios::binary) << std::string("\x89HDF\r\n\x1a\n", 8);
  const Outcome outcome = run_limited(RLIMIT_AS, 80'000'000, {"info", "--weights", "some.h5"});
  EXPECT_EQ(outcome.exit_code, kDevice);
  EXPECT_THAT(outcome.err, AllOf(HasSubstr("some.h5: no memory"), HasSubstr("(`ulimit -v`, now 80 MB)")));
}

TEST_F(CliLimits, LittleMemoryMakesBatchesSmaller) {
  if (kAddressSanitizer) GTEST_SKIP() << "the address sanitizer needs all address space";
  const std::vector<std::string> large{
      "render", "block1_conv1:1-6", "--weights", "first.safetensors", "--size", "500", "--iterations",
      "1",      "--threads",        "1",         "--verbose",         "--out",  "out", "--force"};
  EXPECT_THAT(run(large).err, HasSubstr("Batches: 1, each of at most 16 filters (enough for 1 thread)"));
  const Outcome outcome = run_limited(RLIMIT_AS, 220'000'000, large);
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_THAT(outcome.err, HasSubstr(" MB of free memory)"));
}

// Files that are read again are not blamed either.
TEST_F(CliLimits, LittleMemoryForResults) {
  if (kAddressSanitizer) GTEST_SKIP() << "the address sanitizer needs all address space";
  std::vector<std::string> large = command("whole");
  large.insert(large.end(), {"--size", "300"});
  large.erase(large.begin() + 3, large.begin() + 5);
  ASSERT_EQ(run(large).exit_code, 0);
  for (const auto& words : {std::vector<std::string>{"merge", "whole", "--out", "merged", "--force"},
                            std::vector<std::string>{"gallery", "whole"}}) {
    bool done = false;
    for (rlim_t megabytes = 40; megabytes < 1000 && !done; megabytes += 7) {
      SCOPED_TRACE(words[0] + " " + std::to_string(megabytes));
      const Outcome outcome = run_limited(RLIMIT_AS, megabytes * 1'000'000, words);
      if (!starts_within(megabytes * 1'000'000)) continue;
      EXPECT_THAT(outcome.exit_code, AnyOf(0, kInput, kDevice, kOutput)) << outcome.err;
      if (outcome.exit_code != 0) {
        EXPECT_THAT(outcome.err, HasSubstr("raise the limit of memory"));
      }
      EXPECT_THAT(outcome.out + outcome.err,
                  AllOf(Not(HasSubstr("damaged")), Not(HasSubstr("delete it")), Not(HasSubstr("--batch"))));
      done = outcome.exit_code == 0;
    }
    EXPECT_TRUE(done);
  }
}

// --- Time ---

TEST_F(CliLimits, LittleCpuTime) {
  const Outcome outcome = run_limited(RLIMIT_CPU, 2, command("out", "0-63", "2000"));
  EXPECT_EQ(outcome.exit_code, kInterrupted) << outcome.err;
  EXPECT_THAT(outcome.err, AllOf(HasSubstr("`ulimit -t`"), HasSubstr("Interrupted: ")));
  EXPECT_EQ(manifest("out")["complete"], false);
}

// --- Processes ---

class CliFewProcesses : public CliLimits {
 protected:
  void SetUp() override {
    CliLimits::SetUp();
    fs::permissions(folder_, fs::perms::all);
    prepare_ = [] {
      set_limit(RLIMIT_NPROC, 1);  // The limit does not apply to root.
      be_an_ordinary_user();
    };
    if (run({"--version"}).exit_code != 0) GTEST_SKIP() << "no user with one process can be used here";
  }
};

TEST_F(CliFewProcesses, OneIsEnough) {
  const Outcome outcome = run(command("out"));
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_EQ(run({"gallery", "out"}).exit_code, 0);
  prepare_ = nullptr;
  ASSERT_EQ(run(command("whole")).exit_code, 0);
  expect_same("out", "whole");
}

TEST_F(CliFewProcesses, CommandsThatNeedAnotherProcessSaySo) {
  std::ofstream(folder_ / "some.h5", std::ios::binary) << std::string("\x89HDF\r\n\x1a\n", 8);
  const std::string error =
      error_of({"render", "--weights", "some.h5", "--threads", "1", "block1_conv1:0"}, kDevice);
  EXPECT_THAT(error, AllOf(HasSubstr("some.h5: cannot start a process to read it"),
                           HasSubstr("(`ulimit -u`, now 1"), Not(HasSubstr("damaged"))));
}

// --- Permissions ---

TEST_F(CliLimits, MissingPermissionsAreReportedAsSuch) {
  fs::permissions(folder_, fs::perms::all);
  prepare_ = be_an_ordinary_user;
  if (run({"--version"}).exit_code != 0) GTEST_SKIP() << "no other user can be used here";
  // A file in a folder without permissions is not reported as missing.
  fs::create_directory(folder_ / "shut");
  fs::copy_file(folder_ / "first.safetensors", folder_ / "shut" / "first.safetensors");
  fs::permissions(folder_ / "shut", fs::perms::none);
  for (const char* option : {"--weights=shut/first.safetensors", "--init=shut/some.npy"})
    EXPECT_THAT(error_of({"render", "block1_conv1:0", option}, kInput),
                AllOf(HasSubstr("Permission denied; check its permissions"), Not(HasSubstr("no such file"))));
  fs::permissions(folder_ / "shut", fs::perms::owner_all);
  prepare_ = [] {
    umask(0777);
    be_an_ordinary_user();
  };
  EXPECT_THAT(error_of(command("out"), kOutput),
              AllOf(HasSubstr("has the permissions 000"), HasSubstr("umask")));
  fs::permissions(folder_ / "out", fs::perms::owner_all);
}

// --- The terminal ---

class CliHungUp : public CliLimits {
 protected:
  static std::vector<std::string> long_command() { return command("out", "0-63", "100"); }
  Outcome run_until_terminal_is_gone(sighandler_t at_hangup) {
    const int terminal = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    EXPECT_TRUE(terminal >= 0 && grantpt(terminal) == 0 && unlockpt(terminal) == 0);
    const std::string name = ptsname(terminal);
    prepare_ = [&] {
      std::signal(SIGHUP, at_hangup);
      setsid();
      const int slave = open(name.c_str(), O_RDWR);  // The first terminal opened becomes that of the session.
      for (int descriptor = 0; descriptor < 3; ++descriptor) dup2(slave, descriptor);
    };
    std::vector<std::string> words = long_command();
    words.insert(words.end(),
                 {"--verbose", "--trace-every=50"});  // No more output than fits without a reader.
    const pid_t child = start(words);
    wait_for_file(child, first_picture_);
    close(terminal);
    return wait_for(child);
  }
  const char* const first_picture_ = "out/block1_conv1/block1_conv1_f0000.png";
};

TEST_F(CliHungUp, AlsoTwice) {
  const pid_t child = start(long_command());
  wait_for_file(child, first_picture_);
  kill(child, SIGHUP);
  std::this_thread::sleep_for(std::chrono::milliseconds(2));
  kill(child, SIGHUP);
  EXPECT_EQ(wait_for(child).exit_code, kInterrupted);
  EXPECT_EQ(manifest("out")["complete"], false);
}

// Ctrl-C also reaches the background jobs that a script has started, which ignore it.
TEST_F(CliHungUp, AnIgnoredInterruptStaysIgnored) {
  prepare_ = [] { std::signal(SIGINT, SIG_IGN); };
  const pid_t child = start(long_command());
  wait_for_file(child, first_picture_);
  kill(child, SIGTERM);
  for (int i = 0; i < 20; ++i) {
    std::this_thread::sleep_for(std::chrono::microseconds(500));
    kill(child, SIGINT);
  }
  EXPECT_EQ(wait_for(child).exit_code, kInterrupted);
  EXPECT_EQ(manifest("out")["complete"], false);
}

TEST_F(CliHungUp, WithTheTerminalGone) {
  const Outcome outcome = run_until_terminal_is_gone(SIG_DFL);
  EXPECT_EQ(outcome.exit_code, kInterrupted);
  EXPECT_EQ(manifest("out")["complete"], false);
  EXPECT_FALSE(exists("out/journal.jsonl"));
}

TEST_F(CliHungUp, ARunContinuesUnderNohup) {
  const Outcome outcome = run_until_terminal_is_gone(SIG_IGN);
  EXPECT_EQ(outcome.exit_code, kOutput);  // There is nowhere to print to.
  EXPECT_EQ(manifest("out")["complete"], true);
}

}  // namespace
}  // namespace filterscope
