#pragma once

#include <array>
#include <cstddef>
#include <span>
#include <vector>

/// Winograd's F(m x m, 3 x 3) as matrices (A. Lavin, S. Gray, arXiv:1509.09308; the points 0, 1, -1, 2, -2,
/// 1/2, -1/2 and infinity), in double precision, to check the kernels' transforms.
namespace filterscope::bench::winograd {

struct Matrix {
  int rows;
  int columns;
  std::vector<double> values;  ///< Row-major.
  double at(int row, int column) const { return values[static_cast<std::size_t>(row) * columns + column]; }
};

/// B^T, for tile + 2 inputs.
inline Matrix input(int tile) {
  switch (tile) {
    case 2:
      return {4, 4, {1, 0, -1, 0, 0, 1, 1, 0, 0, -1, 1, 0, 0, -1, 0, 1}};
    case 4:
      return {6, 6, {4, 0,  -5, 0, 1, 0, 0, -4, -4, 1,  1, 0, 0, 4, -4, -1, 1, 0,
                     0, -2, -1, 2, 1, 0, 0, 2,  -1, -2, 1, 0, 0, 4, 0,  -5, 0, 1}};
    default:
      return {8, 8, {1, 0,    -5.25, 0,     5.25,  0,     -1, 0,  //
                     0, 1,    1,     -4.25, -4.25, 1,     1,  0,  //
                     0, -1,   1,     4.25,  -4.25, -1,    1,  0,  //
                     0, 0.5,  0.25,  -2.5,  -1.25, 2,     1,  0,  //
                     0, -0.5, 0.25,  2.5,   -1.25, -2,    1,  0,  //
                     0, 2,    4,     -2.5,  -5,    0.5,   1,  0,  //
                     0, -2,   4,     2.5,   -5,    -0.5,  1,  0,  //
                     0, -1,   0,     5.25,  0,     -5.25, 0,  1}};
  }
}

/// G, for 3 weights.
inline Matrix weights(int tile) {
  switch (tile) {
    case 2:
      return {4, 3, {1, 0, 0, 1. / 2, 1. / 2, 1. / 2, 1. / 2, -1. / 2, 1. / 2, 0, 0, 1}};
    case 4:
      return {6,
              3,
              {1. / 4, 0, 0, -1. / 6, -1. / 6, -1. / 6, -1. / 6, 1. / 6, -1. / 6, 1. / 24, 1. / 12, 1. / 6,
               1. / 24, -1. / 12, 1. / 6, 0, 0, 1}};
    default:
      return {8, 3, {1,        0,         0,        //
                     -2. / 9,  -2. / 9,   -2. / 9,  //
                     -2. / 9,  2. / 9,    -2. / 9,  //
                     1. / 90,  1. / 45,   2. / 45,  //
                     1. / 90,  -1. / 45,  2. / 45,  //
                     32. / 45, 16. / 45,  8. / 45,  //
                     32. / 45, -16. / 45, 8. / 45,  //
                     0,        0,         1}};
  }
}

/// A^T, for the products.
inline Matrix output(int tile) {
  switch (tile) {
    case 2:
      return {2, 4, {1, 1, 1, 0, 0, 1, -1, 1}};
    case 4:
      return {4, 6, {1, 1, 1, 1, 1, 0, 0, 1, -1, 2, -2, 0, 0, 1, 1, 4, 4, 0, 0, 1, -1, 8, -8, 1}};
    default:
      return {6, 8, {1, 1, 1,  1,  1,   1,       1,        0,  //
                     0, 1, -1, 2,  -2,  0.5,     -0.5,     0,  //
                     0, 1, 1,  4,  4,   0.25,    0.25,     0,  //
                     0, 1, -1, 8,  -8,  0.125,   -0.125,   0,  //
                     0, 1, 1,  16, 16,  0.0625,  0.0625,   0,  //
                     0, 1, -1, 32, -32, 0.03125, -0.03125, 1}};
  }
}

/// matrix * square * transposed matrix, and the same for the magnitudes, which bounds the rounding errors.
struct Transformed {
  std::vector<double> values;
  std::vector<double> magnitudes;
};
/// `square` is row-major [matrix.columns][matrix.columns].
inline Transformed transform(const Matrix& matrix, std::span<const double> square) {
  Transformed result{std::vector<double>(static_cast<std::size_t>(matrix.rows) * matrix.rows),
                     std::vector<double>(static_cast<std::size_t>(matrix.rows) * matrix.rows)};
  for (int y = 0; y < matrix.rows; ++y) {
    for (int x = 0; x < matrix.rows; ++x) {
      for (int i = 0; i < matrix.columns; ++i) {
        for (int j = 0; j < matrix.columns; ++j) {
          const double term =
              matrix.at(y, i) * matrix.at(x, j) * square[static_cast<std::size_t>(i) * matrix.columns + j];
          result.values[static_cast<std::size_t>(y) * matrix.rows + x] += term;
          result.magnitudes[static_cast<std::size_t>(y) * matrix.rows + x] += term < 0 ? -term : term;
        }
      }
    }
  }
  return result;
}

}  // namespace filterscope::bench::winograd
