#include "plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <limits>
#include <optional>
#include <utility>

#include "../error.h"
#include "own_convolution.h"
#include "timing.h"

namespace filterscope::cuda {

namespace {

// A variant that takes this much longer than the best so far is not timed again.
constexpr double kHopeless = 1.5;

}  // namespace

std::size_t Plan::workspace_bytes() const {
  std::size_t bytes = 0;
  for (const Layer& layer : layers) {
    if (layer.forward) bytes = std::max(bytes, layer.forward->workspace_bytes());
    if (layer.input_gradient) bytes = std::max(bytes, layer.input_gradient->workspace_bytes());
  }
  return bytes;
}

std::string Plan::describe(const Network& network) const {
  std::string targets;
  for (int layer = 0; layer <= geometry.deepest(); ++layer) {
    if (geometry.leaving(layer) == 0) continue;
    targets += fmt::format("{}{} of {}", targets.empty() ? "" : ", ", geometry.leaving(layer),
                           network.convolutions[layer].name);
  }
  std::string text = fmt::format("{}x{}, batch of {}", image.height, image.width, targets);
  for (std::size_t layer = 0; layer < layers.size(); ++layer) {
    const Layer& plan = layers[layer];
    if (!plan.forward && !plan.input_gradient) continue;
    text += fmt::format("; {}: forward {}, gradient {}, mask {}", network.convolutions[layer].name,
                        plan.forward->name(), plan.input_gradient->name(), to_string(plan.gate));
  }
  return text;
}

Planner::Planner(const Network& network, Extent image, Precision precision, PlanRule rule,
                 std::vector<ConvolutionSource> sources, Timings timings)
    : network_(network),
      image_(image),
      precision_(precision),
      rule_(rule),
      sources_(std::move(sources)),
      timings_(std::move(timings)) {}

Plan Planner::make(const Geometry& geometry) {
  const int layers = geometry.deepest() + 1;
  Plan plan{geometry, image_, std::vector<Plan::Layer>(layers)};

  const auto problem = [&](int layer, Direction direction, Gate gate) {
    const Convolution& convolution = network_.convolutions[layer];
    const Extent map = network_.map_extent(layer, image_);
    return ConvolutionProblem{.images = geometry.passing(layer),
                              .height = map.height,
                              .width = map.width,
                              .in_channels = convolution.in_channels,
                              .out_channels = convolution.out_channels,
                              .precision = precision_,
                              .direction = direction,
                              .gate = gate};
  };

  // A layer's mask is written by its own forward convolution and read by the input gradient of the next
  // layer: the two are chosen together. Between two masks nothing is shared.
  // Bytes are read once and written once more than activations, which are there anyway: they are for kernels
  // that have nothing else.
  constexpr std::array kGates{Gate::bits, Gate::activation, Gate::bytes};
  for (int layer = 0; layer < layers; ++layer) {
    const bool computes = layer > 0 && geometry.passing(layer) > 0;
    const bool next_computes = layer + 1 < layers && geometry.passing(layer + 1) > 0;
    const bool pooled = network_.convolutions[layer].pool_after;
    if (pooled || layer + 1 == layers) {
      if (computes)
        plan.layers[layer].forward = choose(problem(layer, Direction::forward, Gate::none)).variant;
      if (next_computes) {
        plan.layers[layer + 1].input_gradient =
            choose(problem(layer + 1, Direction::input_gradient, Gate::none)).variant;
      }
      continue;
    }
    double best = std::numeric_limits<double>::infinity();
    for (const Gate gate : kGates) {
      // The first layer's kernel writes bits, or nothing but its output.
      if (gate == Gate::bytes && (layer == 0 || best < std::numeric_limits<double>::infinity())) continue;
      Choice forward;
      Choice gradient;
      if (computes) forward = choose(problem(layer, Direction::forward, gate));
      if (next_computes) gradient = choose(problem(layer + 1, Direction::input_gradient, gate));
      if ((computes && !forward.variant) || (next_computes && !gradient.variant)) continue;
      const double milliseconds = forward.milliseconds + gradient.milliseconds;
      if (milliseconds >= best) continue;
      best = milliseconds;
      plan.layers[layer].gate = gate;
      plan.layers[layer].forward = std::move(forward.variant);
      if (next_computes) plan.layers[layer + 1].input_gradient = std::move(gradient.variant);
    }
  }
  for (int layer = 1; layer < layers; ++layer) {
    if (geometry.passing(layer) == 0) continue;
    for (const auto& [variant, direction] :
         {std::pair{&plan.layers[layer].forward, Direction::forward},
          std::pair{&plan.layers[layer].input_gradient, Direction::input_gradient}}) {
      if (*variant) continue;
      throw Error(ErrorKind::device,
                  fmt::format("{}: no kernel computes {}", network_.convolutions[layer].name,
                              to_string(problem(layer, direction, Gate::none))));
    }
  }
  return plan;
}

Planner::Choice Planner::choose(const ConvolutionProblem& problem) {
  ConvolutionProblem ungated = problem;
  ungated.gate = Gate::none;
  std::vector<std::unique_ptr<ConvolutionVariant>> variants;
  for (const ConvolutionSource& source : sources_) {
    std::ranges::move(source(problem), std::back_inserter(variants));
    if (problem.gate == Gate::none || problem.gate == Gate::bytes) continue;
    for (auto& variant : source(ungated)) variants.push_back(with_gate(std::move(variant), problem.gate));
  }
  Choice best;
  if (variants.empty()) return best;
  if (rule_ == PlanRule::fixed) {
    best.variant = std::move(variants.front());
    return best;
  }
  best.milliseconds = std::numeric_limits<double>::infinity();
  std::optional<ConvolutionTimer> timer;  // Takes memory: made only if something is to be timed.
  for (auto& variant : variants) {
    const std::string key = to_string(problem) + ": " + variant->name();
    std::optional<double> milliseconds = timings_.find(key);
    if (!milliseconds) {
      if (!timer) timer.emplace(problem);
      milliseconds = timer->milliseconds(*variant, kHopeless * best.milliseconds);
      timings_.store(key, *milliseconds);
    }
    if (*milliseconds < best.milliseconds) best = {std::move(variant), *milliseconds};
  }
  return best;
}

}  // namespace filterscope::cuda
