#pragma once

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "../ascent/recipe.h"
#include "../model/network.h"
#include "../run/selection.h"
#include "terminal.h"

namespace filterscope::cli {

/// Shows the progress of a run on `stream`: on a terminal in one line that is rewritten, shortened to fit;
/// elsewhere in a plain line now and then.
class Progress {
 public:
  enum class Style { silent, terminal, plain };
  using Clock = std::chrono::steady_clock;

  /// For `filters` (ascending), which `recipe` ascends. The time left is derived from `expected_seconds`, the
  /// estimate for the whole run (0 if unknown), until the run's own pace is known. `columns` is StatusLine's.
  Progress(std::FILE* stream, Style style, const Network& network, std::span<const FilterId> filters,
           const Recipe& recipe, double expected_seconds, std::function<int()> columns,
           std::function<Clock::time_point()> clock = Clock::now);
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  /// Adds iterations done since the last call, of filters x iterations in total; iterations that a filter no
  /// longer needs count as done.
  void add_steps(std::int64_t steps);
  void add_finished();               ///< One more filter is finished.
  void clear() { status_.clear(); }  ///< See StatusLine::clear().

 private:
  void show_if_due();
  double work_done() const;
  double seconds_left(double fraction, double elapsed) const;
  /// The point from which the pace is measured: the first reported steps, since kernels are chosen before
  /// them; the start of the run until more steps have been reported.
  struct Mark {
    Clock::time_point at;
    std::int64_t steps = 0;
    double fraction = 0;
  };
  Mark mark() const;
  /// The line to show, followed by ever shorter versions of it.
  std::vector<std::string> lines(Clock::time_point now) const;

  std::function<Clock::time_point()> clock_;
  std::FILE* stream_;
  StatusLine status_;
  Style style_;
  int iterations_;
  double expected_seconds_;
  std::vector<double> work_before_;  ///< By filter, and of all: cost of each filter before it.
  std::int64_t filters_done_ = 0;
  std::int64_t steps_done_ = 0;

  Clock::time_point start_ = clock_();
  std::optional<Mark> first_;
  Clock::time_point shown_at_ = start_;
  double shown_fraction_ = 0;
};

}  // namespace filterscope::cli
