#include "progress.h"

#include <fmt/format.h>

#include <algorithm>

#include "text.h"

namespace filterscope::cli {

namespace {

using namespace std::chrono_literals;

constexpr auto kTerminalInterval = 100ms;
// Plain lines: one for each tenth of the work, but not in quick succession, and never silent for long.
constexpr double kPlainFraction = 0.1;
constexpr auto kPlainShortest = 2s;
constexpr auto kPlainLongest = 60s;

}  // namespace

Progress::Progress(std::FILE* stream, Style style, const Network& network, std::span<const FilterId> filters,
                   Extent extent, int iterations)
    : stream_(stream), style_(style), iterations_(iterations), work_before_(1, 0.0) {
  for (const FilterId& id : filters) {
    work_before_.push_back(work_before_.back() + network.iteration_flops(id.layer, extent));
  }
}

void Progress::add_steps(std::int64_t steps) {
  steps_done_ += steps;
  show_if_due();
}

void Progress::add_finished(int iterations_done) {
  ++filters_done_;
  steps_skipped_ += iterations_ - iterations_done;
  show_if_due();
}

// Of 1. A step of a deep layer costs a hundred times that of a shallow one, so steps are weighed, as if
// filters were taken in ascending order.
double Progress::work_done() const {
  const auto filters = static_cast<double>(work_before_.size() - 1);
  const double position = std::clamp(static_cast<double>(steps_done_ + steps_skipped_) / iterations_,
                                     std::min(filters, static_cast<double>(filters_done_)), filters);
  const auto whole = static_cast<std::size_t>(position);
  double work = work_before_[whole];
  if (whole + 1 < work_before_.size()) {
    work += (position - static_cast<double>(whole)) * (work_before_[whole + 1] - work_before_[whole]);
  }
  return work / work_before_.back();
}

std::string Progress::line(Clock::time_point now) const {
  const double elapsed = std::chrono::duration<double>(now - start_).count();
  const double fraction = work_done();
  const double rate = static_cast<double>(steps_done_) / std::max(elapsed, 1e-9);
  std::string text = fmt::format("{}/{} filters, {:.0f} %, {:.{}f} iterations/s", filters_done_,
                                 work_before_.size() - 1, 100 * fraction, rate, rate < 10 ? 1 : 0);
  if (fraction > 0) text += fmt::format(", {} left", duration_text(elapsed * (1 - fraction) / fraction));
  return text;
}

void Progress::show_if_due() {
  if (style_ == Style::silent) return;
  const auto now = Clock::now();
  const auto since = now - shown_at_;
  if (style_ == Style::terminal) {
    if (since < kTerminalInterval) return;
    fmt::print(stream_, "\r{}\x1b[K", line(now));
    line_on_screen_ = true;
  } else {
    const double fraction = work_done();
    if (since < kPlainShortest || (since < kPlainLongest && fraction - shown_fraction_ < kPlainFraction))
      return;
    fmt::print(stream_, "{}\n", line(now));
    shown_fraction_ = fraction;
  }
  std::fflush(stream_);
  shown_at_ = now;
}

void Progress::clear() {
  if (!line_on_screen_) return;
  std::fputs("\r\x1b[K", stream_);
  std::fflush(stream_);
  line_on_screen_ = false;
}

}  // namespace filterscope::cli
