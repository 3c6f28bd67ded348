#pragma once

#include <chrono>
#include <utility>

namespace filterscope {

/// The time of a run, or of several runs together, by phase, in seconds.
struct PhaseSeconds {
  // One after another:
  double start_up = 0;  ///< Options, start images, the device and its libraries.
  double weights = 0;   ///< Reading and checking the weights, and copying them to the device.
  double plans = 0;     ///< Choosing how each layer is computed, by timing where that decides; transforming
                        ///< weights, allocating memory, estimating the run's length.
  double ascent = 0;    ///< From noise to 8-bit pictures.
  double finish = 0;    ///< What is left to do after the ascent: waiting for pictures, sheets, traces.
  // Meanwhile, in other threads; summed over them:
  double encode = 0;  ///< Compressing pictures, drawing sheets.
  double write = 0;   ///< Files and journal.

  PhaseSeconds& operator+=(const PhaseSeconds& other) {
    start_up += other.start_up;
    weights += other.weights;
    plans += other.plans;
    ascent += other.ascent;
    finish += other.finish;
    encode += other.encode;
    write += other.write;
    return *this;
  }
  PhaseSeconds operator*(double share) const {
    return {start_up * share, weights * share, plans * share, ascent * share,
            finish * share,   encode * share,  write * share};
  }
};

/// Adds its lifetime to a phase. `Seconds` is double, or atomic if several threads add to it.
template <typename Seconds>
class PhaseTimer {
 public:
  explicit PhaseTimer(Seconds& seconds) : seconds_(seconds) {}
  ~PhaseTimer() { seconds_ += std::chrono::duration<double>(Clock::now() - start_).count(); }
  PhaseTimer(const PhaseTimer&) = delete;
  PhaseTimer& operator=(const PhaseTimer&) = delete;

 private:
  using Clock = std::chrono::steady_clock;
  Seconds& seconds_;
  const Clock::time_point start_ = Clock::now();
};

/// Returns the result of `action`, and adds the time that it takes to `seconds`, also if it throws.
template <typename Seconds, typename Action>
auto timed(Seconds& seconds, Action&& action) {
  const PhaseTimer timer(seconds);
  return std::forward<Action>(action)();
}

}  // namespace filterscope
