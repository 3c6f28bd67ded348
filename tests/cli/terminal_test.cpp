// Runs as a user sees them on a terminal: the program writes to a pseudo-terminal, and an emulated one shows
// it.

#include "tests/support/terminal.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <optional>
#include <regex>
#include <string>
#include <vector>

#include "tests/support/program.h"

namespace filterscope {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::Not;

class CliTerminal : public Cli {
 protected:
  void TearDown() override {
    if (terminal_ >= 0) close(terminal_);
    Cli::TearDown();
  }

  // Starts a run on a terminal of `columns`; 0: it does not know how many it has.
  void start_on_terminal(int columns, int iterations, const std::vector<std::string>& more = {}) {
    if (terminal_ >= 0) close(terminal_);
    output_.clear();
    terminal_ = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    ASSERT_GE(terminal_, 0);
    ASSERT_EQ(grantpt(terminal_), 0);
    ASSERT_EQ(unlockpt(terminal_), 0);
    const std::string name = ptsname(terminal_);
    set_columns(columns);
    std::vector<std::string> words{FILTERSCOPE_PROGRAM,
                                   "render",
                                   "block1_conv1:0-15",
                                   "--weights",
                                   "synthetic",
                                   "--device",
                                   "cpu",
                                   "--threads",
                                   "1",
                                   "--size",
                                   "64",
                                   "--iterations",
                                   std::to_string(iterations)};
    words.insert(words.end(), more.begin(), more.end());
    std::vector<char*> argv;
    for (std::string& word : words) argv.push_back(word.data());
    argv.push_back(nullptr);

    child_ = fork();
    if (child_ != 0) return;
    setsid();
    const int end = open(name.c_str(), O_RDWR);  // This makes it the session's terminal.
    for (const int descriptor : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) dup2(end, descriptor);
    setenv("HOME", folder_.c_str(), 1);
    setenv("TERM", "xterm", 1);
    unsetenv("COLUMNS");
    unsetenv("FILTERSCOPE_WEIGHTS");
    for (const auto& [variable, value] : environment_) setenv(variable.c_str(), value.c_str(), 1);
    // In the background, another process group has the terminal: here the parent's.
    if (in_background_) {
      const pid_t job = fork();
      if (job != 0) {
        int status = 0;
        waitpid(job, &status, 0);
        _exit(WIFEXITED(status) ? WEXITSTATUS(status) : 126);
      }
      setpgid(0, 0);
    }
    if (chdir(folder_.c_str()) == 0) execv(argv[0], argv.data());
    _exit(127);
  }

  void set_columns(int columns) {
    const winsize size{24, static_cast<unsigned short>(columns), 0, 0};
    ASSERT_EQ(ioctl(terminal_, TIOCSWINSZ, &size), 0);
  }

  // Returns what has been written since the last call; nothing after the end of the program.
  std::optional<std::string> read_some(int milliseconds) {
    pollfd ready{terminal_, POLLIN, 0};
    if (poll(&ready, 1, milliseconds) == 0) return "";
    char text[4096];
    const ssize_t count = read(terminal_, text, sizeof text);
    if (count <= 0) return std::nullopt;
    output_.append(text, static_cast<std::size_t>(count));
    return std::string(text, static_cast<std::size_t>(count));
  }

  // Shows output until `text` has been written `times` more.
  void show_until(const std::string& text, int times, EmulatedTerminal& screen) {
    while (times > 0) {
      const auto some = read_some(100'000);
      ASSERT_TRUE(some && !some->empty()) << output_;
      screen.write(*some);
      times -= static_cast<int>(std::count(some->begin(), some->end(), text.front()));
    }
  }

  std::vector<std::string> show_to_the_end(EmulatedTerminal& screen, int exit_code = 0) {
    while (const auto some = read_some(100'000)) screen.write(*some);
    int status = 0;
    EXPECT_EQ(waitpid(child_, &status, 0), child_);
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == exit_code) << output_;
    return screen.rows();
  }

  std::vector<std::string> interrupt(EmulatedTerminal& screen) {
    kill(child_, SIGINT);
    return show_to_the_end(screen, kInterrupted);
  }

  // The program is stopped meanwhile, so no output is on its way to the terminal.
  void resize(int columns, EmulatedTerminal& screen) {
    kill(child_, SIGSTOP);
    int status = 0;
    ASSERT_EQ(waitpid(child_, &status, WUNTRACED), child_);
    for (auto some = read_some(0); some && !some->empty(); some = read_some(0)) screen.write(*some);
    set_columns(columns);
    screen.resize(static_cast<std::size_t>(columns));
    kill(child_, SIGCONT);
  }

  int terminal_ = -1;
  pid_t child_ = -1;
  bool in_background_ = false;
  std::string output_;
};

std::ptrdiff_t progress_lines(const std::vector<std::string>& rows) {
  return std::ranges::count_if(
      rows, [](const std::string& row) { return row.ends_with(" %") || row.ends_with(" left"); });
}

constexpr int kUntilInterrupted = 1'000'000;

TEST_F(CliTerminal, ProgressIsOneLineAlsoWhenTheTerminalIsResized) {
  for (const auto resizing : {EmulatedTerminal::Resizing::cuts, EmulatedTerminal::Resizing::reflows}) {
    start_on_terminal(79, kUntilInterrupted, {"--force"});
    EmulatedTerminal screen(79, resizing);
    show_until("%", 2, screen);
    EXPECT_THAT(screen.rows().back(), HasSubstr("/16 filters, "));
    resize(25, screen);
    show_until("%", 2, screen);
    EXPECT_EQ(progress_lines(screen.rows()), 1) << output_;
    EXPECT_THAT(screen.rows().back(), EndsWith(" %"));
    EXPECT_EQ(progress_lines(interrupt(screen)), 0) << output_;
    EXPECT_THAT(output_, AllOf(HasSubstr("Stopping"), HasSubstr("Interrupted: ")));
  }
}

TEST_F(CliTerminal, TheEnvironmentGivesTheColumnsThatATerminalDoesNotKnow) {
  environment_["COLUMNS"] = "20";
  start_on_terminal(0, kUntilInterrupted);
  EmulatedTerminal screen(20, EmulatedTerminal::Resizing::cuts);
  show_until("%", 2, screen);
  EXPECT_EQ(progress_lines(screen.rows()), 1) << output_;
  EXPECT_EQ(progress_lines(interrupt(screen)), 0) << output_;
}

TEST_F(CliTerminal, RecordedLossesArePrintedOnSeparateLines) {
  start_on_terminal(60, kUntilInterrupted, {"--verbose", "--trace-every", "10"});
  EmulatedTerminal screen(60, EmulatedTerminal::Resizing::reflows);
  show_until("%", 2, screen);
  const auto rows = interrupt(screen);
  EXPECT_EQ(progress_lines(rows), 0) << output_;
  const std::regex loss("block1_conv1 [0-9]+  Iteration: [0-9]+, Loss: [0-9.]+");
  const auto losses = std::ranges::count_if(
      rows, [](const std::string& row) { return row.find("Loss") != std::string::npos; });
  EXPECT_GE(losses, 16);
  EXPECT_EQ(std::ranges::count_if(rows, [&](const std::string& row) { return std::regex_match(row, loss); }),
            losses)
      << output_;
}

TEST_F(CliTerminal, DumbTerminalsGetPlainLines) {
  for (const char* kind : {"dumb", ""}) {
    environment_["TERM"] = kind;
    start_on_terminal(80, 20, {"--force"});
    EmulatedTerminal screen(80, EmulatedTerminal::Resizing::cuts);
    EXPECT_THAT(show_to_the_end(screen), Contains(HasSubstr("16 filters in ")));
    EXPECT_THAT(output_, Not(HasSubstr("\x1b")));
  }
}

TEST_F(CliTerminal, BackgroundJobsDoNotOverwriteWhatIsTyped) {
  in_background_ = true;
  start_on_terminal(80, 300);
  EmulatedTerminal screen(80, EmulatedTerminal::Resizing::cuts);
  EXPECT_THAT(show_to_the_end(screen), Contains(HasSubstr("16 filters in ")));
  EXPECT_THAT(output_, Not(HasSubstr("\x1b")));
}

}  // namespace
}  // namespace filterscope
