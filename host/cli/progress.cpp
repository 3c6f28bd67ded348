#include "progress.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "../run/costs.h"
#include "text.h"

namespace filterscope::cli {

namespace {

using namespace std::chrono_literals;

constexpr auto kTerminalInterval = 100ms;
// Plain lines: one for each tenth of the work, but neither in quick succession nor too rarely.
constexpr double kPlainFraction = 0.1;
constexpr auto kPlainShortest = 2s;
constexpr auto kPlainLongest = 60s;
// The cost of a step besides its convolutions (norm, update, the traffic of the first maps), in operations
// that take as long, per position of the image. For the first layer, it is most of the cost.
constexpr double kImageFlops = 3000;
// The part of the work after which the time left depends on the run's own pace only, and the time before
// anything is shown.
constexpr double kOwnPace = 0.2;
constexpr double kSilentSeconds = 1;

}  // namespace

Progress::Progress(std::FILE* stream, Style style, const Network& network, std::span<const FilterId> filters,
                   const Recipe& recipe, double expected_seconds, std::function<int()> columns,
                   std::function<Clock::time_point()> clock)
    : clock_(std::move(clock)),
      stream_(stream),
      status_(stream, std::move(columns)),
      style_(style),
      iterations_(recipe.iterations()),
      expected_seconds_(expected_seconds),
      work_before_(1, 0.0) {
  double image_flops = 0;
  for (const Stage& stage : recipe.stages)
    image_flops += kImageFlops * static_cast<double>(stage.extent.positions()) * stage.iterations;
  for (const FilterId& id : filters)
    work_before_.push_back(work_before_.back() + ascent_flops(network, recipe, id.layer) + image_flops);
}

void Progress::add_steps(std::int64_t steps) {
  steps_done_ += steps;
  if (!first_ && steps > 0) first_ = {clock_(), steps_done_, work_done()};
  show_if_due();
}

void Progress::add_finished() {
  ++filters_done_;
  show_if_due();
}

// From 0 to 1. A step of a deep layer costs a hundred times that of a shallow one, so steps are weighted, as
// if filters were rendered in ascending order.
double Progress::work_done() const {
  const auto filters = static_cast<double>(work_before_.size() - 1);
  const double position = std::clamp(static_cast<double>(steps_done_) / iterations_,
                                     std::min(filters, static_cast<double>(filters_done_)), filters);
  const auto whole = static_cast<std::size_t>(position);
  double work = work_before_[whole];
  if (whole + 1 < work_before_.size()) {
    work += (position - static_cast<double>(whole)) * (work_before_[whole + 1] - work_before_[whole]);
  }
  return work / work_before_.back();
}

Progress::Mark Progress::mark() const {
  return first_ && work_done() > first_->fraction ? *first_ : Mark{start_};
}

double Progress::seconds_left(double fraction, double elapsed) const {
  const double at_own_pace = elapsed / (fraction - mark().fraction);
  const double trust = expected_seconds_ > 0 ? std::min(1.0, fraction / kOwnPace) : 1.0;
  return (1 - fraction) * (trust * at_own_pace + (1 - trust) * expected_seconds_);
}

std::vector<std::string> Progress::lines(Clock::time_point now) const {
  const Mark from = mark();
  const double elapsed = std::chrono::duration<double>(now - from.at).count();
  const double fraction = work_done();
  const std::string percent = fmt::format("{:.{}f} %", 100 * fraction, fraction < 0.0995 ? 1 : 0);
  const std::string done = fmt::format("{}/{}, {}", with_thousands(filters_done_),
                                       counted(std::ssize(work_before_) - 1, "filter"), percent);
  const bool own_pace = from.steps > 0;
  std::string rate, left;
  if (own_pace) {
    const double per_second = static_cast<double>(steps_done_ - from.steps) / std::max(elapsed, 1e-9);
    rate = fmt::format(", {} iterations/s", rate_text(per_second));
  }
  if (fraction > 0 && (expected_seconds_ > 0 || (own_pace && elapsed > kSilentSeconds)))
    left = fmt::format(", {} left", duration_text(seconds_left(fraction, elapsed)));
  return {done + rate + left, done + left, done, percent};
}

void Progress::show_if_due() {
  if (style_ == Style::silent) return;
  const auto now = clock_();
  const auto since = now - shown_at_;
  if (style_ == Style::terminal && status_.is_visible()) {
    if (since < kTerminalInterval) return;
    status_.show(lines(now));
  } else {
    const double fraction = work_done();
    if (since < kPlainShortest || (since < kPlainLongest && fraction - shown_fraction_ < kPlainFraction))
      return;
    std::fputs((lines(now).front() + "\n").c_str(), stream_);
    std::fflush(stream_);
    shown_fraction_ = fraction;
  }
  shown_at_ = now;
}

}  // namespace filterscope::cli
