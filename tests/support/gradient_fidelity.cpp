#include "gradient_fidelity.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <ranges>
#include <vector>

#include "random_network.h"

namespace filterscope::fidelity {

namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

double norm_of(std::ranges::input_range auto&& values) {
  double squares = 0;
  for (const double value : values) squares += value * value;
  return std::sqrt(squares);
}

// The error of the gradients divided by their norms; 0 if both are zero, 1 if one is.
double step_error(const std::vector<float>& found, const std::vector<double>& expected) {
  const double found_norm = norm_of(found);
  const double norm = norm_of(expected);
  if (found_norm == 0 || norm == 0) return found_norm == norm ? 0 : 1;
  const auto scaled = [](double by) { return std::views::transform([by](double v) { return v / by; }); };
  return test::l2_relative_error(found | scaled(found_norm), expected | scaled(norm));
}

double norm_error(const std::vector<float>& found, const std::vector<double>& expected) {
  const double found_norm = norm_of(found);
  const double norm = norm_of(expected);
  if (found_norm == norm) return 0;
  const double error = std::abs(found_norm - norm) / norm;
  return std::isfinite(error) ? error : kInfinity;
}

void count_mask_bits(const std::vector<std::uint8_t>& found, const std::vector<std::uint8_t>& expected,
                     GradientErrors& errors) {
  errors.masks += std::ssize(expected);
  if (found.size() != expected.size()) {
    errors.differ += std::ssize(expected);
    return;
  }
  for (std::size_t i = 0; i < found.size(); ++i) errors.differ += found[i] == expected[i] ? 0 : 1;
}

double worst(std::span<const GradientErrors> errors, std::optional<double> GradientErrors::*which) {
  double most = 0;
  for (const GradientErrors& error : errors) most = std::max(most, (error.*which).value());
  return most;
}

}  // namespace

GradientErrors gradient_errors(const FilterGradient& found, const reference::Gradient& expected,
                               const Network& network, const Weights& weights, const InputMapping& mapping,
                               Extent image) {
  GradientErrors errors;
  errors.free_step = step_error(found.gradient, expected.gradient.values);
  if (!found.masks) return errors;
  for (std::size_t i = 0; i < expected.masks.layers.size(); ++i)
    count_mask_bits(found.masks->layers[i], expected.masks.layers[i], errors);
  count_mask_bits(found.masks->filter, expected.masks.filter, errors);
  const reference::Map given = reference::gradient_through(*found.masks, network, weights, mapping,
                                                           found.id.layer, found.id.filter, image);
  errors.step = step_error(found.gradient, given.values);
  errors.norm = norm_error(found.gradient, given.values);
  return errors;
}

GradientSummary summarise(std::span<const GradientErrors> errors) {
  GradientSummary summary;
  std::vector<double> free_steps;
  std::int64_t masks = 0;
  std::int64_t differ = 0;
  for (const GradientErrors& error : errors) {
    free_steps.push_back(error.free_step);
    masks += error.masks;
    differ += error.differ;
  }
  std::ranges::nth_element(free_steps, free_steps.begin() + std::ssize(free_steps) / 2);
  summary.median_free_step = free_steps[free_steps.size() / 2];
  if (!std::ranges::all_of(errors, [](const GradientErrors& error) { return error.step.has_value(); }))
    return summary;
  summary.worst_step = worst(errors, &GradientErrors::step);
  summary.worst_norm = worst(errors, &GradientErrors::norm);
  summary.masks = static_cast<double>(differ) / static_cast<double>(masks);
  return summary;
}

GradientLimits gradient_limits(Precision precision) {
  switch (precision) {
    case Precision::tf32:
      return {.step = 2e-3, .norm = 2e-2, .masks = 1e-3, .free_step = 0.4};
    case Precision::fp16:
      return {.step = 5e-3, .norm = 5e-3, .masks = 1e-3, .free_step = 0.4};
    case Precision::bf16:
      return {.step = 2e-2, .norm = 2e-2, .masks = 1e-2, .free_step = 0.9};
    case Precision::automatic:
    case Precision::fp32:
      break;
  }
  return {.step = 1e-5, .norm = 1e-5, .masks = 1e-5, .free_step = 0.1};
}

bool within(const GradientSummary& summary, const GradientLimits& limits) {
  if (!summary.worst_step) return summary.median_free_step <= limits.step;
  return *summary.worst_step <= limits.step && *summary.worst_norm <= limits.norm &&
         *summary.masks <= limits.masks && summary.median_free_step <= limits.free_step;
}

}  // namespace filterscope::fidelity
