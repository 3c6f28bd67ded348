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

/// Judges whether an engine's gradients are as good as its precision allows.
///
/// A gradient through ReLUs and max-pools is a sum over the paths that they let pass. Rounding a map changes
/// the sign of some values and the argmax of some pool windows, and a single such change of a mask alters the
/// gradient by more than all other roundings together. How often that happens says nothing about the program.
/// Hence there are two questions. Is this the right gradient, given the masks that the engine found? Only the
/// roundings of the backward pass remain, so the limit can be tight. And are the masks right, except the few
/// that the precision leaves undecided?
namespace filterscope::fidelity {

/// The errors of one filter's gradient relative to double precision. Infinite if a value is not finite.
struct GradientErrors {
  /// The error of the step (the gradient divided by its norm), given the engine's own masks: the L2 norm of
  /// the difference over the image. Nothing if the engine does not report its masks.
  std::optional<double> step;
  /// The relative error of the norm, likewise. Truncating operands instead of rounding them makes it too
  /// small; no step depends on it.
  std::optional<double> norm;
  /// The error of the step, with the masks that double precision finds.
  double free_step = 0;
  std::int64_t masks = 0;   ///< Mask elements of all layers.
  std::int64_t differ = 0;  ///< Those that differ from double precision's.
};
/// `expected` is double precision's gradient of the same image, whose extent is `image`.
GradientErrors gradient_errors(const FilterGradient& found, const reference::Gradient& expected,
                               const Network& network, const Weights& weights, const InputMapping& mapping,
                               Extent image);

/// The errors of several filters, such as those of one layer.
struct GradientSummary {
  std::optional<double> worst_step;
  std::optional<double> worst_norm;
  std::optional<double> masks;  ///< The share of mask elements that differ.
  double median_free_step = 0;
};
/// Requires at least one filter.
GradientSummary summarise(std::span<const GradientErrors> errors);

struct GradientLimits {
  double step;
  double norm;
  double masks;
  double free_step;
};
/// The limits for VGG16 on images of 32 x 32, from noise and after some iterations. The limit of the step is
/// a requirement; the others are at least twice the effect of roundings alone, as observed on real and on
/// synthetic weights (bench/simulate_fidelity.py), and far below the effect of a mistake.
GradientLimits gradient_limits(Precision precision);
/// Without masks, the median of the free steps replaces the worst step.
bool within(const GradientSummary& summary, const GradientLimits& limits);

}  // namespace filterscope::fidelity
