#pragma once

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "../model/network.h"
#include "../run/selection.h"
#include "terminal.h"

namespace filterscope::cli {

/// Tells on `stream` how far a run is: on a terminal one line that is rewritten, as much of it as there is
/// room for; elsewhere a plain line now and then.
class Progress {
 public:
  enum class Style { silent, terminal, plain };
  using Clock = std::chrono::steady_clock;

  /// For `filters` (ascending) at `iterations` each. `expected_seconds` for all of it, 0 if unknown, is what
  /// the time left is told from until the run itself tells more. `columns`: of the terminal, as StatusLine
  /// has it.
  Progress(std::FILE* stream, Style style, const Network& network, std::span<const FilterId> filters,
           Extent extent, int iterations, double expected_seconds, std::function<int()> columns,
           std::function<Clock::time_point()> clock = Clock::now);
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  /// Of the total of filters x iterations, done since the last call; those that a filter no longer needs
  /// count as done.
  void add_steps(std::int64_t steps);
  void add_finished();               ///< One more filter is finished.
  void clear() { status_.clear(); }  ///< As StatusLine has it.

 private:
  void show_if_due();
  double work_done() const;
  double seconds_left(double fraction, double elapsed) const;
  /// From when and from what on the pace is taken: the first steps that were told, since before them kernels
  /// are chosen; the beginning while there are no others.
  struct Mark {
    Clock::time_point at;
    std::int64_t steps = 0;
    double fraction = 0;
  };
  Mark mark() const;
  /// What is to be told, then ever less of it.
  std::vector<std::string> lines(Clock::time_point now) const;

  std::function<Clock::time_point()> clock_;
  std::FILE* stream_;
  StatusLine status_;
  Style style_;
  int iterations_;
  double expected_seconds_;
  std::vector<double>
      work_before_;  ///< By filter, and of all: cost of one iteration of each filter before it.
  std::int64_t filters_done_ = 0;
  std::int64_t steps_done_ = 0;

  Clock::time_point start_ = clock_();
  std::optional<Mark> first_;
  Clock::time_point shown_at_ = start_;
  double shown_fraction_ = 0;
};

}  // namespace filterscope::cli
