#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "host/ascent/recipe.h"
#include "host/model/network.h"
#include "host/model/weights/weights.h"
#include "host/run/filter_gradient.h"
#include "host/run/precision.h"
#include "reference.h"

/// Whether an engine's gradients are as good as its precision allows.
///
/// A gradient through ReLUs and max-pools is a sum over those that let it pass. Rounding a map makes some of
/// its values change sign, or lose to their neighbours: the gradient then takes other ways, and one such mask
/// changes it by more than all roundings together. How often that happens tells nothing of the program. So
/// there are two questions. Is this the gradient, given the masks that the engine found? Here only the
/// roundings of the way down remain, and a limit can be tight. And are those the right masks, all but the few
/// that the precision leaves open?
namespace filterscope::fidelity {

/// Of one filter's gradient against double precision's. Infinite where something is not finite.
struct GradientErrors {
  /// Given the engine's own masks. Of the step that the gradient makes, that is, of the gradient divided by
  /// its norm: L2 of the difference, over the image. Nothing from an engine that does not tell its masks.
  std::optional<double> step;
  /// Likewise, of the norm, relative. Operands that are cut off rather than rounded make it too small; no
  /// step depends on it.
  std::optional<double> norm;
  /// Of the step, with the masks that double precision finds.
  double free_step = 0;
  std::int64_t masks = 0;   ///< Of all layers.
  std::int64_t differ = 0;  ///< Of them, those that double precision finds otherwise.
};
/// `expected` is double precision's gradient of the same image, whose extent is `image`.
GradientErrors gradient_errors(const FilterGradient& found, const reference::Gradient& expected,
                               const Network& network, const Weights& weights, const InputMapping& mapping,
                               Extent image);

/// Of several filters, such as those of one layer.
struct GradientSummary {
  std::optional<double> worst_step;
  std::optional<double> worst_norm;
  std::optional<double> masks;  ///< Share of those that differ.
  double median_free_step = 0;
};
/// Of at least one filter.
GradientSummary summarise(std::span<const GradientErrors> errors);

struct GradientLimits {
  double step;
  double norm;
  double masks;
  double free_step;
};
/// For VGG16 on images of 32 x 32, from noise and after some iterations. That of the step is what is asked of
/// the engine; the others lie at least twice above what roundings alone were seen to do, on real and on
/// made-up weights (bench/simulate_fidelity.py), and far below what a mistake does.
GradientLimits gradient_limits(Precision precision);
/// Without masks, the median of the free steps stands for the worst step.
bool within(const GradientSummary& summary, const GradientLimits& limits);

}  // namespace filterscope::fidelity
