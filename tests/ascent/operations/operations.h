#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <span>
#include <vector>

#include "host/ascent/recipe.h"
#include "tests/support/operations.h"
#include "tests/support/random_network.h"

/// What the tests of operations share.
namespace filterscope::test {

/// Odd, even, narrow and prime sizes.
inline const std::vector<Extent> kExtents{{5, 7}, {6, 8}, {9, 4}, {13, 11}, {1, 3}};

inline std::vector<float> poison(std::size_t size) {
  return std::vector<float>(size, std::numeric_limits<float>::quiet_NaN());
}
inline std::size_t image_size(Extent extent) {
  return static_cast<std::size_t>(extent.positions()) * 3;
}
inline reference::Map random_map(Extent extent, std::uint64_t seed, float low = 0.f) {
  return {extent, 3, random_values(image_size(extent), seed, low)};
}
inline double dot(std::span<const double> a, std::span<const double> b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}
inline std::vector<double> widened(std::span<const float> values) {
  return {values.begin(), values.end()};
}

/// Expects values within `relative` of the largest magnitude.
template <class Expected>
void expect_close(std::span<const float> found, const Expected& expected, double relative) {
  ASSERT_EQ(found.size(), expected.size());
  double largest = 0;
  for (const double value : expected) largest = std::max(largest, std::abs(value));
  for (std::size_t i = 0; i < found.size(); ++i)
    ASSERT_NEAR(found[i], expected[i], relative * largest + 1e-30) << "value " << i;
}

inline std::vector<Parameterisation> parameterisations() {
  std::vector<Parameterisation> all;
  for (const auto kind : {Parameterisation::Kind::pixels, Parameterisation::Kind::fourier})
    for (const auto colour : {Parameterisation::Colour::as_is, Parameterisation::Colour::decorrelated,
                              Parameterisation::Colour::standardised})
      for (const auto range : {Parameterisation::Range::unbounded, Parameterisation::Range::sigmoid})
        all.push_back({.kind = kind, .decay = 1.25f, .colour = colour, .range = range});
  return all;
}

}  // namespace filterscope::test
