#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "../network.h"
#include "convolution.h"
#include "device_weights.h"
#include "geometry.h"

namespace filterscope::cuda {

/// How the convolutions of a geometry are computed.
struct Plan {
  struct Layer {
    /// Of the images that pass the layer; null where none does, and for the first layer, which has a kernel
    /// of its own.
    std::unique_ptr<ConvolutionVariant> forward;
    std::unique_ptr<ConvolutionVariant> input_gradient;
    /// How it is kept where the layer's ReLU was open; none where a pool follows, which keeps it, and at the
    /// geometry's deepest layer.
    Gate gate = Gate::none;
  };
  Geometry geometry;
  Extent image;
  std::vector<Layer> layers;  ///< Up to the geometry's deepest.

  std::size_t workspace_bytes() const;
  /// One line that says what fixes the bits of a result: geometry and, by layer and direction, who computes
  /// it.
  std::string describe(const Network& network) const;
};

enum class PlanRule {
  timed,  ///< Of each problem's variants the one that is fastest on this device.
  fixed,  ///< The first variant offered, without timing.
};

/// All ways to compute a problem that one library offers, the one it thinks best first. Empty where it has
/// none.
using ConvolutionSource =
    std::function<std::vector<std::unique_ptr<ConvolutionVariant>>(const ConvolutionProblem&)>;

/// Milliseconds that variants took in earlier runs, by a key that names problem and variant.
struct Timings {
  std::function<std::optional<double>(const std::string& key)> find = [](const std::string&) {
    return std::optional<double>();
  };
  std::function<void(const std::string& key, double milliseconds)> store = [](const std::string&, double) {};
};

/// Makes plans for one network on the current device.
class Planner {
 public:
  /// `sources` in the order of preference under PlanRule::fixed. References must outlive the planner.
  Planner(const Network& network, Extent image, Precision precision, PlanRule rule,
          std::vector<ConvolutionSource> sources, Timings timings = {});

  /// A problem that no source can compute is a device Error.
  Plan make(const Geometry& geometry);

 private:
  struct Choice {
    std::unique_ptr<ConvolutionVariant> variant;
    double milliseconds = 0;
  };

  Choice choose(const ConvolutionProblem& problem);

  const Network& network_;
  Extent image_;
  Precision precision_;
  PlanRule rule_;
  std::vector<ConvolutionSource> sources_;
  Timings timings_;
};

}  // namespace filterscope::cuda
