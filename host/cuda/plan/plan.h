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

#include "../../model/network.h"
#include "../../run/batch.h"
#include "../convolution.h"
#include "../device_weights.h"
#include "../first_layer.h"

namespace filterscope::cuda {

/// How the convolutions of a layout are computed.
struct Plan {
  struct Layer {
    /// Of the images that pass the layer; null where none does, and for the first layer, which has kernels
    /// of its own.
    std::unique_ptr<ConvolutionVariant> fprop;
    std::unique_ptr<ConvolutionVariant> dgrad;
    /// How it is kept where the layer's ReLU was active; none where a pool follows, which keeps it, and at
    /// the layout's deepest layer. The first layer's is bits, which its own kernels write and apply: the
    /// dgrad of the second layer does not pass it.
    MaskFormat mask = MaskFormat::none;
  };
  BatchLayout layout;
  Extent image;
  std::vector<Layer> layers;  ///< Up to the layout's deepest.
  /// The first layer's kernels, by the names that first_layer_kernels() gives; empty where no image passes
  /// it.
  std::string first_layer_fprop;
  std::string first_layer_dgrad;

  std::size_t workspace_bytes() const;
  /// One line that says what fixes the bits of a result: layout and, by layer and direction, who computes
  /// it.
  std::string describe(const Network& network) const;
};

enum class PlanRule {
  timed,  ///< Of each problem's variants the one that is fastest on this device.
  fixed,  ///< The first variant offered, without timing.
};

/// The ways to compute a problem that one library offers, the one it thinks best first. Empty where it has
/// none, or none that the search allows. A search that ends for want of time gives what it has found.
using ConvolutionSource = std::function<std::vector<std::unique_ptr<ConvolutionVariant>>(
    const ConvolutionProblem&, PlanSearch, const TimingBudget&)>;

/// Where times come from.
struct Timings {
  /// Milliseconds that a variant took in an earlier run, by a key that names problem and variant.
  std::function<std::optional<double>(const std::string& key)> find = [](const std::string&) {
    return std::optional<double>();
  };
  std::function<void(const std::string& key, double milliseconds)> store = [](const std::string&, double) {};
  /// Milliseconds of a variant, or more than `cutoff`; as ConvolutionTrial. Throws OutOfMemory,
  /// WrongResult.
  using Measure = std::function<double(ConvolutionVariant&, double cutoff)>;
  /// For variants of `problem`.
  std::function<Measure(const ConvolutionProblem& problem)> timer = time_on_device;
  /// The same for kernels of the first layer; as FirstLayerTrial.
  using MeasureFirstLayer = std::function<double(std::string_view kernel, double cutoff)>;
  std::function<MeasureFirstLayer(const FirstLayerProblem& problem)> first_layer_timer =
      time_first_layer_on_device;
  /// A clock, in seconds.
  std::function<double()> now = steady_seconds;

  static Measure time_on_device(const ConvolutionProblem& problem);
  static MeasureFirstLayer time_first_layer_on_device(const FirstLayerProblem& problem);
  static double steady_seconds();
};

/// What a plan is made for.
struct PlanUse {
  std::int64_t iterations = 1;  ///< Of the layout's images.
  /// When it is requested, nothing more is timed.
  std::stop_token stop;
  /// Told, in a sentence, before the first timing of a Planner.
  std::function<void(const std::string&)> on_notice{};
};

/// What is timed in place of `problem`: the same maps, but of as few images as show how fast it is (at most
/// about 1 TFLOP a launch), and a number that problems of similar size share (1, 2, 3, 4, 6, 8, 12, 16...),
/// so that what is known of one serves the others. Never more images than the problem's.
ConvolutionProblem timed_problem(ConvolutionProblem problem);
/// The same for the first layer, which reads and writes more than it computes: of at most as many images
/// as 512 of 96 x 96.
FirstLayerProblem timed_problem(FirstLayerProblem problem);

/// Makes plans for one network on the current device.
///
/// The result of what is timed is also compared: a variant whose result is wrong is not used, and a notice
/// says so.
///
/// Making a plan takes at most about a tenth of what it is then used for, as estimated from the fastest
/// kernel seen so far, and at least the timing of one kernel: first what can be launched as it is is timed,
/// then, where there is time for it, what has to be compiled, whose compiling counts as a part of its time. A
/// problem that is not timed gets the first variant offered.
class Planner {
 public:
  /// `sources` in the order of preference where nothing is timed. References must outlive the planner.
  Planner(const Network& network, Extent image, Precision precision, PlanRule rule,
          std::vector<ConvolutionSource> sources, Timings timings = {});

  /// A problem that no source can compute is a device Error.
  Plan make(const BatchLayout& layout, const PlanUse& use = {});

 private:
  struct Choice {
    std::unique_ptr<ConvolutionVariant> variant;
    /// Of the problem's whole images, with the variant's part of the compiling.
    double milliseconds = 0;
  };

  Plan attempt(const BatchLayout& layout, const PlanUse& use, PlanSearch search);
  Choice choose(const ConvolutionProblem& problem, const PlanUse& use, PlanSearch search);
  Choice choose_timed(const ConvolutionProblem& problem, const PlanUse& use, PlanSearch search);
  std::string choose_first_layer(const FirstLayerProblem& problem, const PlanUse& use);
  /// Whether it has computed what it should so far, and broken no device, in earlier runs neither.
  bool is_usable(const std::string& kernel) const;
  /// What `measure` gives for `kernel`, stored under `key`; nothing where that failed, and then for good if
  /// its result is wrong. A device Error where it broke the device, which is stored, too.
  std::optional<double> time(const std::string& kernel, const std::string& key, const PlanUse& use,
                             const std::function<std::optional<double>()>& measure);
  bool can_have(Plan& plan);
  /// Seconds that may still be spent on timing; negative: none.
  double seconds_left(const PlanUse& use) const;

  const Network& network_;
  Extent image_;
  Precision precision_;
  PlanRule rule_;
  std::vector<ConvolutionSource> sources_;
  Timings timings_;
  bool noticed_ = false;
  std::set<std::string> wrong_;  // Names of kernels that computed something else, whatever the problem.
  bool found_wrong_ = false;     // One of them, so that what has been chosen may have it elsewhere.
  // Of the plan being made.
  double operations_ = 0;          // Of one iteration.
  double fastest_ = 0;             // Operations a second, of the fastest variant seen.
  double started_ = 0;             // When it was begun, by the clock of timings_.
  std::set<std::string> refused_;  // Variants that turned out not to be had.
};

}  // namespace filterscope::cuda
