#include "colour.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>

namespace filterscope {

namespace {

using Matrix = std::array<std::array<double, 3>, 3>;

// Lucid's square root of the covariance of ImageNet's colours (optvis/param/color.py), divided by the largest
// norm of its columns.
Matrix correlation() {
  Matrix matrix{{{0.26, 0.09, 0.02}, {0.27, 0.00, -0.05}, {0.27, -0.09, 0.03}}};
  double largest = 0;
  for (int column = 0; column < 3; ++column) {
    double squares = 0;
    for (const auto& row : matrix) squares += row[column] * row[column];
    largest = std::max(largest, std::sqrt(squares));
  }
  for (auto& row : matrix)
    for (double& value : row) value /= largest;
  return matrix;
}

Matrix transposed(const Matrix& matrix) {
  Matrix result{};
  for (int row = 0; row < 3; ++row)
    for (int column = 0; column < 3; ++column) result[column][row] = matrix[row][column];
  return result;
}

Matrix inverse(const Matrix& m) {
  const auto minor = [&](int row, int column) {
    const int r1 = (row + 1) % 3, r2 = (row + 2) % 3, c1 = (column + 1) % 3, c2 = (column + 2) % 3;
    return m[r1][c1] * m[r2][c2] - m[r1][c2] * m[r2][c1];
  };
  const double determinant = m[0][0] * minor(0, 0) + m[0][1] * minor(0, 1) + m[0][2] * minor(0, 2);
  Matrix result{};
  for (int row = 0; row < 3; ++row)
    for (int column = 0; column < 3; ++column) result[column][row] = minor(row, column) / determinant;
  return result;
}

// Each position's channels times the matrix.
void multiply(const Matrix& matrix, std::span<float> values) {
  std::array<std::array<float, 3>, 3> m{};
  for (int row = 0; row < 3; ++row)
    for (int column = 0; column < 3; ++column) m[row][column] = static_cast<float>(matrix[row][column]);
  for (std::size_t i = 0; i + 2 < values.size(); i += 3) {
    const float a = values[i], b = values[i + 1], c = values[i + 2];
    for (int row = 0; row < 3; ++row) values[i + row] = m[row][0] * a + m[row][1] * b + m[row][2] * c;
  }
}

// ImageNet's mean and standard deviation of red, green and blue in 0..1, as torchvision states them.
constexpr std::array<float, 3> kMean{0.485f, 0.456f, 0.406f};
constexpr std::array<float, 3> kDeviation{0.229f, 0.224f, 0.225f};

// Logit's argument keeps this distance from 0 and 1.
constexpr float kLogitMargin = 0x1p-10f;

}  // namespace

void to_image(const Parameterisation& parameterisation, std::span<float> values) {
  if (parameterisation.colour == Parameterisation::Colour::decorrelated) multiply(correlation(), values);
  if (parameterisation.colour == Parameterisation::Colour::standardised) {
    for (std::size_t i = 0; i < values.size(); ++i) values[i] = values[i] * kDeviation[i % 3] + kMean[i % 3];
  }
  if (parameterisation.range == Parameterisation::Range::sigmoid)
    for (float& value : values) value = 1.f / (1.f + std::exp(-value));
}

void image_adjoint(const Parameterisation& parameterisation, std::span<const float> image,
                   std::span<float> gradient) {
  if (parameterisation.range == Parameterisation::Range::sigmoid)
    for (std::size_t i = 0; i < gradient.size(); ++i) gradient[i] *= image[i] * (1.f - image[i]);
  if (parameterisation.colour == Parameterisation::Colour::decorrelated)
    multiply(transposed(correlation()), gradient);
  if (parameterisation.colour == Parameterisation::Colour::standardised)
    for (std::size_t i = 0; i < gradient.size(); ++i) gradient[i] *= kDeviation[i % 3];
}

void from_image(const Parameterisation& parameterisation, std::span<float> values) {
  if (parameterisation.range == Parameterisation::Range::sigmoid) {
    for (float& value : values) {
      const float inside = std::clamp(value, kLogitMargin, 1.f - kLogitMargin);
      value = std::log(inside / (1.f - inside));
    }
  }
  if (parameterisation.colour == Parameterisation::Colour::decorrelated)
    multiply(inverse(correlation()), values);
  if (parameterisation.colour == Parameterisation::Colour::standardised) {
    for (std::size_t i = 0; i < values.size(); ++i)
      values[i] = (values[i] - kMean[i % 3]) / kDeviation[i % 3];
  }
}

}  // namespace filterscope
