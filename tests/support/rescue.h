#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "host/run/filter_result.h"
#include "random_network.h"
#include "reference.h"
#include "runs.h"

/// Tests both engines on filters that lack a gradient at some time, together with active ones.
namespace filterscope::test {

/// A network that any engine can run, and filters of it that need rescue or not. Steps are long, so that few
/// are needed, and so that one step can lead to an image without an active position.
class RescueCases {
 public:
  RescueCases() {
    for (const FilterId id : {kLate, kLateInFirstLayer}) lift(id, -4.5);
    lift(kDying, 0.1);
    weights_.layers[2]->bias[kNever.filter] = -1000.f;
    for (std::size_t input = 0; input < 9 * 64; ++input)
      weights_.layers[2]->kernel[input * 32 + kWithoutGradient.filter] = 0.f;
    weights_.layers[2]->bias[kWithoutGradient.filter] = -1.f;
  }

  static constexpr FilterId kLateInFirstLayer{0, 2};  ///< Becomes active after some iterations.
  static constexpr FilterId kLate{2, 5};              ///< Likewise.
  static constexpr FilterId kNever{2, 7};  ///< Has a gradient before its ReLU, but never becomes active.
  static constexpr FilterId kWithoutGradient{2, 9};  ///< Has none even before its ReLU.
  static constexpr FilterId kDying{2, 12};  ///< The first step deactivates it; two more reactivate it.
  static const std::vector<FilterId>& filters() {
    static const std::vector<FilterId> all{{0, 1}, kLateInFirstLayer, {1, 3}, {2, 3}, kLate, kNever,
                                           {2, 8}, kWithoutGradient,  kDying, {2, 13}};
    return all;
  }

  const Network& network() const { return network_; }
  const Weights& weights() const { return weights_; }
  static Extent extent() { return {8, 10}; }
  static Recipe recipe(int iterations, bool rescue = true) {
    Recipe recipe = short_recipe(iterations);
    recipe.stages[0].optimiser.step = 8;
    recipe.stages[0].objective.rescue = rescue;
    return recipe;
  }

  /// The reference's ascent, computed once for each filter and number of iterations.
  const reference::Ascent& ascent(FilterId id, int iterations) const {
    reference::Ascent& known = ascents_[iterations][id];
    if (known.image.values.empty()) {
      known = reference::ascend(network_, weights_, recipe(iterations), id.layer, id.filter, start(id),
                                iterations);
    }
    return known;
  }
  static reference::Map start(FilterId id) {
    return {extent(), 3, reference::noise_image({}, 0, id.layer, id.filter, extent())};
  }

 private:
  // Changes the bias so that the largest response to the start image is `to`.
  void lift(FilterId id, double to) {
    float& bias = weights_.layers[id.layer]->bias[id.filter];
    constexpr float kAboveZero = 1000;
    const float before = bias;
    bias = kAboveZero;
    const reference::Map map =
        reference::activation(network_, weights_, identity_mapping(), id.layer, start(id));
    double largest = 0;
    for (int y = 0; y < map.height; ++y)
      for (int x = 0; x < map.width; ++x) largest = std::max(largest, map.at(y, x, id.filter));
    bias = before;
    bias = static_cast<float>(kAboveZero - largest + to);
  }

  Network network_ = make_network({{64}, {64, true}, {32}});
  Weights weights_ = random_weights(network_, 4);
  mutable std::map<int, std::map<FilterId, reference::Ascent>> ascents_;
};

/// The rescue of an ascent according to its losses.
struct Rescued {
  FilterStatus status = FilterStatus::ok;
  int iterations = 0;
  int alive_from = 0;
};
inline Rescued rescued_in(const reference::Ascent& ascent) {
  Rescued rescued;
  for (std::size_t i = 0; i < ascent.losses.size(); ++i) {
    if (ascent.losses[i] != 0) continue;
    ++rescued.iterations;
    rescued.alive_from = static_cast<int>(i) + 2;
  }
  if (rescued.iterations > 0) rescued.status = FilterStatus::rescued;
  if (ascent.final_loss == 0 || ascent.gradient_norm == 0) rescued.status = FilterStatus::dead;
  if (rescued.status != FilterStatus::rescued) rescued.alive_from = 0;
  return rescued;
}

/// Relative tolerances of losses, and of an image's change after a few of the long steps.
struct RescueTolerance {
  double loss;
  double image;
};

/// Compares the results of `run(recipe, options, filters)` with the reference, at the beginning, in the
/// middle and at the end of ascents, and checks that they do not depend on neighbours. `options` are those of
/// the engine for these cases.
template <class Run>
void expect_rescue(const Run& run, RunOptions options, const RescueTolerance& tolerance) {
  const RescueCases cases;
  options.extent = cases.extent();
  options.trace_every = 1;
  options.keep_images = true;
  const std::vector<FilterId>& filters = cases.filters();
  constexpr int kLongest = 7;
  const auto moved = [&](const auto& image, FilterId id) {
    std::vector<double> by(image.begin(), image.end());
    std::ranges::transform(by, cases.start(id).values, by.begin(), std::minus{});
    return by;
  };
  // The cases are what their names say.
  const auto status_of = [&](FilterId id, int iterations) {
    return rescued_in(cases.ascent(id, iterations)).status;
  };
  ASSERT_EQ(status_of(RescueCases::kDying, 1), FilterStatus::dead);
  ASSERT_EQ(status_of(RescueCases::kDying, 3), FilterStatus::rescued);
  ASSERT_GT(cases.ascent(RescueCases::kDying, 3).losses.front(), 0);
  for (const FilterId late : {RescueCases::kLate, RescueCases::kLateInFirstLayer}) {
    ASSERT_EQ(status_of(late, 1), FilterStatus::dead);
    ASSERT_EQ(status_of(late, kLongest), FilterStatus::rescued);
  }
  ASSERT_EQ(status_of(RescueCases::kNever, kLongest), FilterStatus::dead);
  ASSERT_GT(cases.ascent(RescueCases::kNever, kLongest).gradient_norm, 0);
  ASSERT_EQ(cases.ascent(RescueCases::kWithoutGradient, 1).gradient_norm, 0);

  std::map<FilterId, FilterResult> longest;
  for (const int iterations : {1, 2, 3, kLongest}) {
    const Collector got = run(cases.recipe(iterations), options, filters);
    ASSERT_EQ(got.results.size(), filters.size());
    EXPECT_EQ(got.progress, static_cast<std::int64_t>(iterations) * std::ssize(filters));
    for (const auto& [id, result] : got.results) {
      SCOPED_TRACE(cases.network().convolutions[id.layer].name + ":" + std::to_string(id.filter) + " after " +
                   std::to_string(iterations) + " iterations");
      const reference::Ascent& expected = cases.ascent(id, iterations);
      const Rescued rescued = rescued_in(expected);
      EXPECT_EQ(result.status, rescued.status) << to_string(result.status);
      EXPECT_EQ(result.alive_from, rescued.alive_from);
      ASSERT_EQ(result.trace.size(), expected.losses.size());
      for (std::size_t i = 0; i < expected.losses.size(); ++i)
        EXPECT_NEAR(result.trace[i].loss, expected.losses[i], tolerance.loss * expected.losses[i]) << i;
      EXPECT_NEAR(result.final_loss, expected.final_loss, tolerance.loss * expected.final_loss);
      if (id == RescueCases::kWithoutGradient) {
        EXPECT_EQ(result.iterations, 0);
        EXPECT_EQ(result.rescued_iterations, 1);  // It was tried.
        EXPECT_EQ(result.image, reference::to_float(cases.start(id)));
        continue;
      }
      EXPECT_EQ(result.iterations, iterations);
      EXPECT_EQ(result.rescued_iterations, rescued.iterations);
      EXPECT_LT(l2_relative_error(moved(result.image, id), moved(expected.image.values, id)),
                tolerance.image);
    }
    longest = got.results;
  }

  // In other batches, with active and inactive neighbours, and alone.
  options.batch = 3;
  const Collector by_three = run(cases.recipe(kLongest), options, filters);
  options.batch = 0;
  const Collector some =
      run(cases.recipe(kLongest), options, {{2, 3}, RescueCases::kLate, RescueCases::kNever, {2, 8}});
  for (const Collector* other : {&by_three, &some}) {
    for (const auto& [id, result] : other->results) {
      EXPECT_EQ(result.status, longest.at(id).status);
      EXPECT_EQ(result.rescued_iterations, longest.at(id).rescued_iterations);
      EXPECT_EQ(result.alive_from, longest.at(id).alive_from);
      EXPECT_LT(l2_relative_error(moved(result.image, id), moved(longest.at(id).image, id)), tolerance.image);
      if (!options.reproducible) continue;
      EXPECT_EQ(result.image, longest.at(id).image);
      EXPECT_EQ(result.final_loss, longest.at(id).final_loss);
    }
  }

  // Without rescue, the image of a filter that lacks a gradient stays as it is from then on; the others are
  // unchanged.
  const Collector off = run(cases.recipe(kLongest, false), options, filters);
  for (const auto& [id, result] : off.results) {
    SCOPED_TRACE(cases.network().convolutions[id.layer].name + ":" + std::to_string(id.filter) +
                 " without rescue");
    const FilterResult& rescued = longest.at(id);
    EXPECT_EQ(result.rescued_iterations, 0);
    EXPECT_EQ(result.alive_from, 0);
    if (rescued.rescued_iterations == 0) {
      EXPECT_EQ(result.status, FilterStatus::ok);
      EXPECT_EQ(result.image, rescued.image);
      EXPECT_EQ(result.final_loss, rescued.final_loss);
      continue;
    }
    EXPECT_EQ(result.status, FilterStatus::dead);
    EXPECT_EQ(result.final_loss, 0.f);
    if (id == RescueCases::kDying) {
      EXPECT_EQ(result.iterations, 1);
    } else {
      EXPECT_EQ(result.iterations, 0);
      EXPECT_EQ(result.image, reference::to_float(cases.start(id)));
    }
  }
}

}  // namespace filterscope::test
