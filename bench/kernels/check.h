#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <random>
#include <string>

#include "host/model/network.h"

/// Compares results with plain loops in double precision, at random places: all places of a real layer would
/// take minutes.
namespace filterscope::bench {

/// The places to compare, the same in every run; the corners of a map, where the padding is, are more
/// frequent.
class Places {
 public:
  static constexpr int kCount = 500;

  /// A number in [0, size).
  std::size_t any(std::size_t size) {
    return std::uniform_int_distribution<std::size_t>(0, size - 1)(generator_);
  }
  int any(int size) { return static_cast<int>(any(static_cast<std::size_t>(size))); }
  int coordinate(int size) {
    const int kind = any(4);
    return kind == 0 ? 0 : kind == 1 ? size - 1 : any(size);
  }

 private:
  std::mt19937 generator_{1};
};

/// Collects wrong values.
class Comparison {
 public:
  /// NaN counts as wrong. `where` is only called for wrong values.
  template <class Where>
  void near(double actual, double expected, double tolerance, const Where& where) {
    ++compared_;
    if (std::abs(actual - expected) <= tolerance) return;
    if (++wrong_ == 1)
      first_ = fmt::format("{} is {} instead of {} +- {:.2g}", where(), actual, expected, tolerance);
  }
  template <class Where>
  void same(bool right, const Where& where) {
    ++compared_;
    if (right) return;
    if (++wrong_ == 1) first_ = fmt::format("{} is different", where());
  }
  /// Empty if no value is wrong.
  std::string complaint() const {
    if (compared_ == 0) return "nothing was compared";
    if (wrong_ == 0) return "";
    return fmt::format("{} of {} values, the first: {}", wrong_, compared_, first_);
  }

 private:
  int compared_ = 0;
  int wrong_ = 0;
  std::string first_;
};

/// A sum of products in double precision.
struct Sum {
  double value = 0;
  double squares = 0;  ///< The sum of the products' squares.
  int terms = 0;

  void add(double product) {
    value += product;
    squares += product * product;
    ++terms;
  }
  double norm() const { return std::sqrt(squares); }
  /// The error that an fp32 sum of these products may have. Each addition loses at most 2^-23 of the partial
  /// sum (tensor cores truncate where others round), and partial sums of random products hardly exceed the
  /// norm. `product_error` is the relative error of a product itself, from rounded factors or Winograd's
  /// transforms; such errors add up like random numbers.
  double tolerance(double product_error = 0) const {
    return (terms * 0x1p-23 + 8 * product_error) * norm() + 0x1p-100;
  }
};

/// One output of a 3x3 cross-correlation with zero padding 1 over a map of `extent`. source(y, x, channel)
/// and weight(tap, channel), with tap = 3 * row + column, return the factors.
template <class Source, class Weight>
Sum convolve_at(Extent extent, int y, int x, int channels, const Source& source, const Weight& weight) {
  Sum sum;
  for (int tap = 0; tap < 9; ++tap) {
    const int in_y = y + tap / 3 - 1;
    const int in_x = x + tap % 3 - 1;
    if (in_y < 0 || in_y >= extent.height || in_x < 0 || in_x >= extent.width) continue;
    for (int channel = 0; channel < channels; ++channel) {
      sum.add(static_cast<double>(source(in_y, in_x, channel)) * static_cast<double>(weight(tap, channel)));
    }
  }
  return sum;
}

}  // namespace filterscope::bench
