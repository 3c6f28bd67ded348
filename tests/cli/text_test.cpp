#include "host/cli/text.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <functional>
#include <limits>
#include <map>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "host/cli/progress.h"
#include "host/cli/terminal.h"
#include "tests/support/terminal.h"

namespace filterscope::cli {
namespace {

using ::testing::ContainsRegex;
using ::testing::HasSubstr;
using ::testing::Not;

TEST(CliText, Durations) {
  EXPECT_EQ(duration_text(0.84), "0.8 s");
  EXPECT_EQ(duration_text(9.96), "10 s");
  EXPECT_EQ(duration_text(59.4), "59 s");
  EXPECT_EQ(duration_text(59.6), "1 min 00 s");
  EXPECT_EQ(duration_text(200), "3 min 20 s");
  EXPECT_EQ(duration_text(7500), "2 h 05 min");
  EXPECT_EQ(duration_text(3 * 86400 + 4 * 3600), "3 days 4 h");
  EXPECT_EQ(duration_text(std::numeric_limits<double>::infinity()), "unknown time");
}

TEST(CliText, Rates) {
  EXPECT_EQ(rate_text(0.01234), "0.0123");
  EXPECT_EQ(rate_text(7.25), "7.25");
  EXPECT_EQ(rate_text(999.4), "999");
  EXPECT_EQ(rate_text(1140), "1,140");
}

TEST(CliText, FiltersAreListedAsSelectorsUpToALimit) {
  const std::vector<FilterId> filters{{0, 3}, {0, 17}, {2, 0}, {12, 511}};
  EXPECT_EQ(filters_text(filters, vgg16(), 10), "block1_conv1:3,17 block2_conv1:0 block5_conv3:511");
  EXPECT_EQ(filters_text(filters, vgg16(), 2), "block1_conv1:3,17 and 2 more");
}

TEST(CliText, SelectorsOfTheFirstLayers) {
  EXPECT_EQ(selectors_text(vgg16(), 4), "'block1_*' 'block2_*'");
  EXPECT_EQ(selectors_text(vgg16(), 6), "'block1_*' 'block2_*' block3_conv1 block3_conv2");
  EXPECT_EQ(selectors_text(vgg16(), 0), "");
  const auto selected = parse_selection(std::vector<std::string>{"block1_*", "block2_*"}, vgg16(), 0);
  EXPECT_EQ(selected.back(), (FilterId{3, 127}));
}

TEST(CliText, RenderableLayersEndAtTheFirstGap) {
  Weights weights;
  weights.layers.resize(13);
  EXPECT_EQ(renderable_layers(vgg16(), weights), 0);
  weights.layers[0] = weights.layers[1] = weights.layers[5] = LayerWeights{};
  EXPECT_EQ(renderable_layers(vgg16(), weights), 2);
}

// Reads all of a temporary file, and closes it.
std::string all_of(std::FILE* file) {
  std::string text(static_cast<std::size_t>(std::ftell(file)), '\0');
  std::rewind(file);
  EXPECT_EQ(std::fread(text.data(), 1, text.size(), file), text.size());
  std::fclose(file);
  return text;
}

Recipe recipe_of(int iterations) {
  Recipe recipe;
  recipe.stages.front().extent = {32, 32};
  recipe.stages.front().iterations = iterations;
  return recipe;
}

// The output of a run of `filters` with 10 iterations each, one step of one filter at a time.
std::string progress_output(Progress::Style style, std::vector<FilterId> filters, double expected_seconds,
                            int steps, std::chrono::milliseconds each = std::chrono::milliseconds(1),
                            int columns = 80) {
  std::FILE* file = std::tmpfile();
  {
    Progress progress(file, style, vgg16(), filters, recipe_of(10), expected_seconds,
                      [=] { return columns; });
    for (int step = 1; step <= steps; ++step) {
      std::this_thread::sleep_for(each);
      progress.add_steps(1);
      if (step % 10 == 0) progress.add_finished();
    }
  }
  return all_of(file);
}

std::vector<FilterId> many_filters() {
  return std::vector<FilterId>(64, FilterId{4, 0});
}

TEST(CliProgress, RewritesAndErasesOneLineOnATerminal) {
  const std::string text = progress_output(Progress::Style::terminal, many_filters(), 100, 320);
  EXPECT_THAT(text, HasSubstr("/64 filters, "));
  EXPECT_THAT(text, HasSubstr(" iterations/s, "));
  EXPECT_THAT(text, HasSubstr(" left"));
  EXPECT_THAT(text, Not(HasSubstr("\n")));
  EXPECT_EQ(text.front(), '\r');
  EXPECT_THAT(text, ::testing::EndsWith("\r\x1b[K\r"));
}

TEST(CliProgress, OneFilterIsSingular) {
  EXPECT_THAT(progress_output(Progress::Style::terminal, {{4, 0}}, 100, 10, std::chrono::milliseconds(30)),
              HasSubstr("/1 filter, "));
}

TEST(CliProgress, TimeLeftStartsFromTheEstimate) {
  const std::string text =
      progress_output(Progress::Style::terminal, std::vector<FilterId>(640, FilterId{4, 0}), 86400, 120);
  EXPECT_THAT(text, ContainsRegex(" 2[0-3] h "));
}

// Choosing kernels takes ten seconds before the first steps; half of all steps take ten more.
TEST(CliProgress, TimeBeforeTheFirstStepsDoesNotCountTowardsThePace) {
  std::FILE* file = std::tmpfile();
  {
    Progress::Clock::time_point now{};
    Progress progress(
        file, Progress::Style::terminal, vgg16(), many_filters(), recipe_of(1000), 0, [] { return 80; },
        [&] { return now; });
    now += std::chrono::seconds(10);
    progress.add_steps(64);
    now += std::chrono::seconds(10);
    progress.add_steps(32'000 - 64);
  }
  const std::string text = all_of(file);
  EXPECT_THAT(text, HasSubstr("0/64 filters, 0.1 %\x1b"));
  EXPECT_THAT(text, ContainsRegex("50 %, 3,19[0-9] iterations/s, 10 s left"));
}

TEST(CliProgress, PlainLinesComeAtAModestRate) {
  EXPECT_EQ(progress_output(Progress::Style::plain, many_filters(), 0, 300), "");
  const auto text =
      progress_output(Progress::Style::plain, many_filters(), 0, 640, std::chrono::milliseconds(4));
  // About one line: the run lasts longer on a busy machine.
  EXPECT_THAT(text, ContainsRegex("^[0-9]+/64 filters, .* iterations/s, .* left\n"));
  EXPECT_LE(std::count(text.begin(), text.end(), '\n'), 4) << text;
  EXPECT_THAT(text, Not(HasSubstr("\r")));
}

// As under `timeout`: another process group has the terminal.
TEST(CliProgress, PrintsPlainLinesInTheBackground) {
  const std::string text =
      progress_output(Progress::Style::terminal, many_filters(), 0, 640, std::chrono::milliseconds(4), 0);
  EXPECT_THAT(text, testing::MatchesRegex("[0-9]+/64 filters, [^\r\x1b\n]+ left\n"));
}

TEST(CliProgress, SilentPrintsNothing) {
  EXPECT_EQ(progress_output(Progress::Style::silent, many_filters(), 0, 150), "");
}

// A stream, and an emulated terminal that shows its output.
class Screen {
 public:
  Screen(int columns, EmulatedTerminal::Resizing resizing)
      : columns_(columns), terminal_(static_cast<std::size_t>(columns), resizing) {}
  ~Screen() { std::fclose(file_); }
  Screen(const Screen&) = delete;
  Screen& operator=(const Screen&) = delete;

  std::FILE* stream() { return file_; }
  std::function<int()> columns() {
    return [this] { return hidden ? 0 : columns_; };
  }
  std::vector<std::string> rows() {
    take();
    return terminal_.rows();
  }
  void resize(int columns) {
    take();
    terminal_.resize(static_cast<std::size_t>(columns));
    columns_ = columns;
  }

  bool hidden = false;  // Another job has the terminal.

 private:
  void take() {
    std::fflush(file_);
    std::string text(static_cast<std::size_t>(std::ftell(file_) - taken_), '\0');
    std::fseek(file_, taken_, SEEK_SET);
    EXPECT_EQ(std::fread(text.data(), 1, text.size(), file_), text.size());
    taken_ = std::ftell(file_);
    std::fseek(file_, 0, SEEK_END);
    terminal_.write(text);
  }

  std::FILE* file_ = std::tmpfile();
  long taken_ = 0;
  int columns_;
  EmulatedTerminal terminal_;
};

using Rows = std::vector<std::string>;

TEST(CliProgress, ANarrowTerminalShowsWhatMattersMost) {
  for (const auto& [columns, line] :
       std::map<int, Rows>{{10'000, {"0/64 filters, 50 %, 3,194 iterations/s, 10 s left"}},
                           {50, {"0/64 filters, 50 %, 3,194 iterations/s, 10 s left"}},
                           {49, {"0/64 filters, 50 %, 10 s left"}},
                           {30, {"0/64 filters, 50 %, 10 s left"}},
                           {29, {"0/64 filters, 50 %"}},
                           {19, {"0/64 filters, 50 %"}},
                           {18, {"50 %"}},
                           {5, {"50 %"}},
                           {4, {}},
                           {1, {}}}) {
    Screen screen(columns, EmulatedTerminal::Resizing::reflows);
    Progress::Clock::time_point now{};
    Progress progress(screen.stream(), Progress::Style::terminal, vgg16(), many_filters(), recipe_of(1000), 0,
                      screen.columns(), [&] { return now; });
    progress.add_steps(64);
    now += std::chrono::seconds(10);
    progress.add_steps(32'000 - 64);
    EXPECT_EQ(screen.rows(), line) << columns;
  }
}

TEST(CliStatusLine, LeavesNothingBehindHoweverTheTerminalIsResized) {
  std::mt19937 random(3);
  const auto up_to = [&](std::size_t most) { return static_cast<int>(1 + random() % most); };
  for (int trial = 0; trial < 400; ++trial) {
    SCOPED_TRACE(trial);
    int columns = up_to(120);
    Screen screen(columns,
                  trial % 2 == 0 ? EmulatedTerminal::Resizing::cuts : EmulatedTerminal::Resizing::reflows);
    std::fputs("$\n", screen.stream());
    Rows above{"$"};
    StatusLine status(screen.stream(), screen.columns());
    for (int event = 0; event < 30; ++event) {
      const int kind = up_to(6);
      if (kind <= 2) {  // Several resizes may happen between two updates.
        columns = up_to(120);
        screen.resize(columns);
      } else if (kind <= 5) {
        const std::string text(static_cast<std::size_t>(up_to(100)), static_cast<char>('a' + event));
        status.show(std::array{text, text.substr(0, 10)});
        Rows expected = above;
        if (std::ssize(text) < columns)
          expected.push_back(text);
        else if (columns > 10)
          expected.push_back(text.substr(0, 10));
        ASSERT_EQ(screen.rows(), expected) << columns;
      } else {
        status.clear();
        ASSERT_EQ(screen.rows(), above);
        std::fputs("-\n", screen.stream());
        above.push_back("-");
        ASSERT_EQ(screen.rows(), above);
      }
    }
  }
}

TEST(CliStatusLine, WritesNothingWhileAnotherJobHasTheTerminal) {
  Screen screen(80, EmulatedTerminal::Resizing::reflows);
  StatusLine status(screen.stream(), screen.columns());
  status.show(std::array{std::string("one")});
  screen.hidden = true;
  std::fputs("\r\x1b[K$ typed", screen.stream());
  status.show(std::array{std::string("two")});
  status.clear();
  EXPECT_EQ(screen.rows(), (Rows{"$ typed"}));
  std::fputs("\n", screen.stream());
  screen.hidden = false;
  status.show(std::array{std::string("three")});
  EXPECT_EQ(screen.rows(), (Rows{"$ typed", "three"}));
}

}  // namespace
}  // namespace filterscope::cli
