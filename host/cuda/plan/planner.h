#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "../first_layer.h"
#include "plan.h"

namespace filterscope::cuda {

enum class PlanRule {
  timed,  ///< The variant of each problem that is fastest on this device.
  fixed,  ///< The first variant offered, without timing.
};

/// The variants of a problem that one library offers, its own favourite first. Empty if it has none, or none
/// that the search allows. If time runs out, it returns what it has found.
using ConvolutionSource = std::function<std::vector<std::unique_ptr<ConvolutionVariant>>(
    const ConvolutionProblem&, PlanSearch, const TimingBudget&)>;

/// The source of timings.
struct Timings {
  /// Milliseconds that a variant took in an earlier run, by a key that names problem and variant.
  std::function<std::optional<double>(const std::string& key)> find = [](const std::string&) {
    return std::optional<double>();
  };
  std::function<void(const std::string& key, double milliseconds)> store = [](const std::string&, double) {};
  /// Milliseconds of a variant, or any time above `cutoff`, as ConvolutionTrial::milliseconds(). Throws
  /// OutOfMemory, WrongResult.
  using Measure = std::function<double(ConvolutionVariant&, double cutoff)>;
  /// For variants of `problem`.
  std::function<Measure(const ConvolutionProblem& problem)> timer = time_on_device;
  /// The same for kernels of the first layer, as FirstLayerTrial::milliseconds().
  using MeasureFirstLayer = std::function<double(std::string_view kernel, double cutoff)>;
  std::function<MeasureFirstLayer(const FirstLayerProblem& problem)> first_layer_timer =
      time_first_layer_on_device;
  /// A clock, in seconds.
  std::function<double()> now = steady_seconds;

  static Measure time_on_device(const ConvolutionProblem& problem);
  static MeasureFirstLayer time_first_layer_on_device(const FirstLayerProblem& problem);
  static double steady_seconds();
};

/// What a plan will be used for.
struct PlanUse {
  std::int64_t iterations = 1;  ///< Iterations of each batch of the layout.
  /// Once a stop is requested, nothing more is timed.
  std::stop_token stop;
  /// Called with a sentence once, before a Planner times anything, and for each kernel that gives wrong
  /// results.
  std::function<void(const std::string&)> on_notice{};
};

/// The proxy that is timed in place of `problem`: the same maps for fewer images, just enough to show the
/// speed (at most about 1 TFLOP a launch). Their number is one of 1, 2, 3, 4, 6, 8, 12, 16... and not larger
/// than the problem's, so that problems of similar size share timings.
ConvolutionProblem timed_problem(ConvolutionProblem problem);
/// The same for the first layer, which is bound by memory: at most as many positions as 512 images of 96 x 96
/// have.
FirstLayerProblem timed_problem(FirstLayerProblem problem);

/// Makes plans for one network on the current device.
/// Timing also checks results: a variant that gives wrong ones is not used, and a notice says so.
/// Making a plan takes at most about a tenth of the time that it will be used for, as estimated from the
/// fastest kernel seen so far, but at least one kernel is timed. Kernels that need no compiling are timed
/// first, then, if time is left, those that have to be compiled, whose compile time counts as part of their
/// time. A problem that is not timed gets the first variant offered.
class Planner {
 public:
  /// `sources` in order of preference, for problems that are not timed. References must outlive the planner.
  Planner(const Network& network, Precision precision, PlanRule rule, std::vector<ConvolutionSource> sources,
          Timings timings = {});

  /// The plan for images of extent `image`. Throws a device Error for a problem that no source can compute.
  Plan make(const BatchLayout& layout, Extent image, const PlanUse& use = {});

 private:
  struct Choice {
    std::unique_ptr<ConvolutionVariant> variant;
    /// For all images of the problem, with the variant's share of the compile time.
    double milliseconds = 0;
  };

  Plan attempt(const BatchLayout& layout, const PlanUse& use, PlanSearch search);
  Choice choose(const ConvolutionProblem& problem, const PlanUse& use, PlanSearch search);
  Choice choose_timed(const ConvolutionProblem& problem, const PlanUse& use, PlanSearch search);
  std::string choose_first_layer(const FirstLayerProblem& problem, const PlanUse& use);
  /// False if `kernel` has given a wrong result, or has broken a device in this or an earlier run.
  bool is_usable(const std::string& kernel) const;
  /// The result of `measure` for `kernel`, which is stored under `key`; nothing if that failed. A kernel with
  /// a wrong result is not used again. If it broke the device, that is stored too, and a device Error thrown.
  std::optional<double> time(const std::string& kernel, const std::string& key, const PlanUse& use,
                             const std::function<std::optional<double>()>& measure);
  bool can_have(Plan& plan);
  /// Seconds left for timing; negative if none are.
  double seconds_left(const PlanUse& use) const;

  const Network& network_;
  Precision precision_;
  PlanRule rule_;
  std::vector<ConvolutionSource> sources_;
  Timings timings_;
  bool noticed_ = false;
  std::set<std::string> wrong_;  // Names of kernels that gave a wrong result for any problem.
  bool found_wrong_ = false;     // While a plan was made, which may use the kernel elsewhere.
  // For the plan that is being made:
  Extent image_{};
  double operations_ = 0;          // In one iteration.
  double fastest_ = 0;             // Operations per second of the fastest variant seen.
  double started_ = 0;             // When making it began, by the clock of timings_.
  std::set<std::string> refused_;  // Variants that turned out not to be available.
};

}  // namespace filterscope::cuda
