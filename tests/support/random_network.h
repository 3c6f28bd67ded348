#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <ostream>
#include <ranges>
#include <vector>

#include "host/ascent/recipe.h"
#include "host/model/network.h"
#include "host/model/weights/weights.h"

namespace filterscope {

// Printed by GoogleTest, also in the names of parameterised tests.
inline void PrintTo(const Extent& extent, std::ostream* out) {
  *out << extent.height << "x" << extent.width;
}
inline void PrintTo(const InputMapping& mapping, std::ostream* out) {
  *out << mapping.name;
}

}  // namespace filterscope

/// Networks, weights and data for tests, the same on every machine, and ways to compare results.
namespace filterscope::test {

/// One layer of a test network.
struct LayerShape {
  int filters;
  bool pool_after = false;
};

/// A chain of such layers from three input channels, named layer1, layer2, ...
Network make_network(const std::vector<LayerShape>& layers);

/// 3 -> 5 -> 7, pool -> 6 -> 9, pool -> 11 -> 4: odd and even channel counts, none a multiple of a vector
/// width, a pool after a first and after a later layer.
Network small_network();

/// `count` values uniform in [low, high).
std::vector<float> random_values(std::size_t count, std::uint64_t seed, float low = 0.f, float high = 1.f);

/// Weights for every layer: kernels uniform with variance 2 / (9 * in_channels), so that activations keep
/// their scale, biases uniform in [-0.1, 0.1).
Weights random_weights(const Network& network, std::uint64_t seed);

/// Largest absolute difference over the largest absolute reference value; 0 for two zero ranges. Infinite
/// where a difference is not finite or the sizes differ, so that a comparison with a tolerance fails.
template <std::ranges::sized_range Actual, std::ranges::sized_range Expected>
double max_relative_error(const Actual& actual, const Expected& expected) {
  if (std::ranges::size(actual) != std::ranges::size(expected))
    return std::numeric_limits<double>::infinity();
  double difference = 0;
  double scale = 0;
  auto value = std::ranges::begin(actual);
  for (const auto& reference : expected) {
    const double error = std::abs(static_cast<double>(*value++) - static_cast<double>(reference));
    if (!std::isfinite(error)) return std::numeric_limits<double>::infinity();
    difference = std::max(difference, error);
    scale = std::max(scale, std::abs(static_cast<double>(reference)));
  }
  return difference == 0 ? 0 : difference / scale;
}

/// L2 norm of the difference over the L2 norm of the reference, with the same conventions.
template <std::ranges::sized_range Actual, std::ranges::sized_range Expected>
double l2_relative_error(const Actual& actual, const Expected& expected) {
  if (std::ranges::size(actual) != std::ranges::size(expected))
    return std::numeric_limits<double>::infinity();
  double difference = 0;
  double scale = 0;
  auto value = std::ranges::begin(actual);
  for (const auto& reference : expected) {
    const double error = static_cast<double>(*value++) - static_cast<double>(reference);
    if (!std::isfinite(error)) return std::numeric_limits<double>::infinity();
    difference += error * error;
    scale += static_cast<double>(reference) * static_cast<double>(reference);
  }
  return difference == 0 ? 0 : std::sqrt(difference / scale);
}

}  // namespace filterscope::test
