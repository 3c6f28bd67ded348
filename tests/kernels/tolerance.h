#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <cstddef>
#include <ranges>
#include <type_traits>

#include "kernels/common/types.h"
#include "tests/support/device.h"

/// The tolerance of a sum of products that a kernel computes in fp32 and rounds once to T.
namespace filterscope::test {

/// Absolute error of one rounding to T below its normal range.
template <class T>
constexpr double kSmallest = std::is_same_v<T, kernels::Half> ? 0x1p-25 : 0x1p-140;

/// The error bound of a sum of `terms` products whose magnitudes add up to `magnitude`: each addition and
/// multiplication is off by at most 2^-24 of the sum so far, in any order, and the result is rounded once.
template <class T>
double sum_tolerance(double expected, double magnitude, int terms) {
  return terms * 0x1p-24 * magnitude + kRounding<T> * std::abs(expected) + kSmallest<T>;
}

/// Expects every element to be within sum_tolerance of the expected value.
template <class T, std::ranges::sized_range Actual, std::ranges::sized_range Expected>
void expect_sums(const Actual& actual, const Expected& expected, const Expected& magnitudes, int terms) {
  ASSERT_EQ(std::ranges::size(actual), std::ranges::size(expected));
  std::size_t wrong = 0;
  for (std::size_t i = 0; i < std::ranges::size(actual); ++i) {
    const double tolerance = sum_tolerance<T>(expected[i], magnitudes[i], terms);
    if (std::abs(static_cast<double>(actual[i]) - expected[i]) <= tolerance) continue;  // NaN is wrong.
    if (++wrong <= 3) {
      ADD_FAILURE() << "element " << i << ": " << actual[i] << ", expected " << expected[i] << " within "
                    << tolerance;
    }
  }
  EXPECT_EQ(wrong, 0u) << "elements of " << std::ranges::size(actual);
}

}  // namespace filterscope::test
