#include "operations.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <complex>
#include <numbers>

#include "kernels/common/philox.h"

namespace filterscope::reference {

namespace {

using Complex = std::complex<double>;

constexpr double kCorrelation[3][3] = {{0.26, 0.09, 0.02}, {0.27, 0.00, -0.05}, {0.27, -0.09, 0.03}};
constexpr double kMean[3] = {0.485, 0.456, 0.406};
constexpr double kDeviation[3] = {0.229, 0.224, 0.225};

// The norm of the longest column, the first.
double correlation_norm() {
  return std::sqrt(0.26 * 0.26 + 0.27 * 0.27 + 0.27 * 0.27);
}

std::size_t at(int y, int x, int width, int channel) {
  return (static_cast<std::size_t>(y) * width + x) * 3 + channel;
}

// exp(2 pi i numerator / denominator).
Complex root(long numerator, int denominator) {
  const double angle = 2 * std::numbers::pi * static_cast<double>(numerator % denominator) / denominator;
  return {std::cos(angle), std::sin(angle)};
}

// What coefficient (ky, kx) of the half spectrum is multiplied with before the inverse transform.
double spectrum_scale(Extent extent, double decay, int ky, int kx) {
  const double fy = static_cast<double>(2 * ky < extent.height ? ky : ky - extent.height) / extent.height;
  const double fx = static_cast<double>(kx) / extent.width;
  const double frequency = std::sqrt(fy * fy + fx * fx);
  const double lowest = 1. / std::max(extent.height, extent.width);
  return std::sqrt(static_cast<double>(extent.positions())) / 4 /
         std::pow(std::max(frequency, lowest), decay);
}

// The derivative of pixel (y, x) with respect to the real part of coefficient (ky, kx), scale included, is
// the real part of this; with respect to its imaginary part, minus the imaginary part.
Complex fourier_term(Extent extent, double decay, int y, int x, int ky, int kx) {
  const Complex wave = root(long{ky} * y, extent.height) * root(long{kx} * x, extent.width);
  const bool single = kx == 0 || 2 * kx == extent.width;
  return wave * (spectrum_scale(extent, decay, ky, kx) * (single ? 1. : 2.) /
                 static_cast<double>(extent.positions()));
}

double sigmoid(double x) {
  return 1 / (1 + std::exp(-x));
}

// Solves correlation * x = colour by Cramer's rule, in place.
void uncorrelate(double* colour) {
  const auto determinant = [](const double(&m)[3][3]) {
    return m[0][0] * (m[1][1] * m[2][2] - m[1][2] * m[2][1]) -
           m[0][1] * (m[1][0] * m[2][2] - m[1][2] * m[2][0]) +
           m[0][2] * (m[1][0] * m[2][1] - m[1][1] * m[2][0]);
  };
  double solution[3];
  for (int column = 0; column < 3; ++column) {
    double replaced[3][3];
    for (int i = 0; i < 3; ++i)
      for (int j = 0; j < 3; ++j) replaced[i][j] = j == column ? colour[i] : kCorrelation[i][j];
    solution[column] = determinant(replaced) / determinant(kCorrelation) * correlation_norm();
  }
  std::ranges::copy(solution, colour);
}

double power_sum(const Map& image, double power) {
  double sum = 0;
  for (const double value : image.values) sum += std::pow(std::abs(value), power);
  return sum;
}

double sign(double value) {
  return value > 0 ? 1 : value < 0 ? -1 : 0;
}

// Calls use(a, b) with the indices of each pair of neighbours, b below or right of a.
template <class Use>
void for_neighbours(const Map& image, const Use& use) {
  for (int y = 0; y < image.height; ++y) {
    for (int x = 0; x < image.width; ++x) {
      for (int c = 0; c < 3; ++c) {
        if (y + 1 < image.height) use(at(y, x, image.width, c), at(y + 1, x, image.width, c));
        if (x + 1 < image.width) use(at(y, x, image.width, c), at(y, x + 1, image.width, c));
      }
    }
  }
}

}  // namespace

Values start_values(const Start& start, std::uint64_t seed, FilterId id, std::size_t count) {
  const auto word = [&](std::size_t i) {
    return random_block(seed, RandomStream::initial_image, static_cast<std::uint32_t>(id.layer),
                        static_cast<std::uint32_t>(id.filter), static_cast<std::uint32_t>(i / 4))[i % 4];
  };
  Values values;
  for (std::size_t i = 0; i < count; ++i) {
    switch (start.kind) {
      case Start::Kind::constant:
        values.push_back(start.value);
        break;
      case Start::Kind::uniform:
        values.push_back(start.low + (double{start.high} - start.low) * double{to_unit_float(word(i))});
        break;
      case Start::Kind::gaussian: {
        const double u = double{to_unit_float(word(i - i % 2))} + 0x1p-24;
        const double angle = 2 * std::numbers::pi * double{to_unit_float(word(i - i % 2 + 1))};
        values.push_back(start.mean + start.deviation * std::sqrt(-2 * std::log(u)) *
                                          (i % 2 == 0 ? std::cos(angle) : std::sin(angle)));
        break;
      }
    }
  }
  return values;
}

Map to_image(const Parameterisation& parameterisation, Extent extent, const Values& parameters) {
  Map image(extent, 3);
  if (parameterisation.kind == Parameterisation::Kind::pixels) {
    image.values = parameters;
  } else {
    const int columns = extent.width / 2 + 1;
    for (int y = 0; y < extent.height; ++y) {
      for (int x = 0; x < extent.width; ++x) {
        for (int ky = 0; ky < extent.height; ++ky) {
          for (int kx = 0; kx < columns; ++kx) {
            const Complex term = fourier_term(extent, parameterisation.decay, y, x, ky, kx);
            for (int c = 0; c < 3; ++c) {
              const std::size_t i = ((static_cast<std::size_t>(c) * extent.height + ky) * columns + kx) * 2;
              image.at(y, x, c) += parameters[i] * term.real() - parameters[i + 1] * term.imag();
            }
          }
        }
      }
    }
  }
  for (std::size_t i = 0; i < image.values.size(); i += 3) {
    double mixed[3] = {image.values[i], image.values[i + 1], image.values[i + 2]};
    for (int c = 0; c < 3; ++c) {
      double& value = image.values[i + c];
      if (parameterisation.colour == Parameterisation::Colour::decorrelated) {
        value = 0;
        for (int from = 0; from < 3; ++from)
          value += kCorrelation[c][from] / correlation_norm() * mixed[from];
      }
      if (parameterisation.colour == Parameterisation::Colour::standardised)
        value = value * kDeviation[c] + kMean[c];
      if (parameterisation.range == Parameterisation::Range::sigmoid) value = sigmoid(value);
    }
  }
  return image;
}

Values parameters_gradient(const Parameterisation& parameterisation, const Map& image,
                           const Map& image_gradient) {
  Map gradient = image_gradient;
  const Extent extent = image.extent();
  for (std::size_t i = 0; i < gradient.values.size(); i += 3) {
    double own[3];
    for (int c = 0; c < 3; ++c) {
      own[c] = gradient.values[i + c];
      const double x = image.values[i + c];
      if (parameterisation.range == Parameterisation::Range::sigmoid) own[c] *= x * (1 - x);
    }
    for (int c = 0; c < 3; ++c) {
      double& value = gradient.values[i + c];
      value = own[c];
      if (parameterisation.colour == Parameterisation::Colour::decorrelated) {
        value = 0;
        for (int to = 0; to < 3; ++to) value += kCorrelation[to][c] / correlation_norm() * own[to];
      }
      if (parameterisation.colour == Parameterisation::Colour::standardised) value *= kDeviation[c];
    }
  }
  if (parameterisation.kind == Parameterisation::Kind::pixels) return gradient.values;
  const int columns = extent.width / 2 + 1;
  Values result(static_cast<std::size_t>(extent.height) * columns * 6);
  for (int ky = 0; ky < extent.height; ++ky) {
    for (int kx = 0; kx < columns; ++kx) {
      for (int y = 0; y < extent.height; ++y) {
        for (int x = 0; x < extent.width; ++x) {
          const Complex term = fourier_term(extent, parameterisation.decay, y, x, ky, kx);
          for (int c = 0; c < 3; ++c) {
            const std::size_t i = ((static_cast<std::size_t>(c) * extent.height + ky) * columns + kx) * 2;
            result[i] += gradient.at(y, x, c) * term.real();
            result[i + 1] -= gradient.at(y, x, c) * term.imag();
          }
        }
      }
    }
  }
  return result;
}

Values parameters_of(const Parameterisation& parameterisation, const Map& image) {
  constexpr double kMargin = 1. / 1024;
  Map values = image;
  for (std::size_t i = 0; i < values.values.size(); i += 3) {
    double* const own = &values.values[i];
    for (int c = 0; c < 3; ++c) {
      if (parameterisation.range != Parameterisation::Range::sigmoid) continue;
      const double inside = std::clamp(own[c], kMargin, 1 - kMargin);
      own[c] = std::log(inside) - std::log(1 - inside);
    }
    if (parameterisation.colour == Parameterisation::Colour::standardised)
      for (int c = 0; c < 3; ++c) own[c] = (own[c] - kMean[c]) / kDeviation[c];
    if (parameterisation.colour == Parameterisation::Colour::decorrelated) uncorrelate(own);
  }
  if (parameterisation.kind == Parameterisation::Kind::pixels) return values.values;
  const int columns = image.width / 2 + 1;
  Values coefficients;
  for (int c = 0; c < 3; ++c) {
    for (int ky = 0; ky < image.height; ++ky) {
      for (int kx = 0; kx < columns; ++kx) {
        Complex sum = 0;
        for (int y = 0; y < image.height; ++y) {
          for (int x = 0; x < image.width; ++x)
            sum += values.at(y, x, c) *
                   std::conj(root(long{ky} * y, image.height) * root(long{kx} * x, image.width));
        }
        sum /= spectrum_scale(image.extent(), parameterisation.decay, ky, kx);
        coefficients.insert(coefficients.end(), {sum.real(), sum.imag()});
      }
    }
  }
  return coefficients;
}

double penalty(const Regulariser& regulariser, const Map& image) {
  double sum = 0;
  switch (regulariser.kind) {
    case Regulariser::Kind::total_variation_l1:
      for_neighbours(
          image, [&](std::size_t a, std::size_t b) { sum += std::abs(image.values[b] - image.values[a]); });
      break;
    case Regulariser::Kind::total_variation_l2:
      for_neighbours(image, [&](std::size_t a, std::size_t b) {
        sum += std::pow(image.values[b] - image.values[a], 2);
      });
      break;
    case Regulariser::Kind::lp_norm:
      sum = std::pow(power_sum(image, regulariser.power), 1 / double{regulariser.power});
      break;
    case Regulariser::Kind::mean_magnitude:
      sum = power_sum(image, 1);
      break;
  }
  return regulariser.weight * sum / static_cast<double>(image.values.size());
}

Map penalty_gradient(const Regulariser& regulariser, const Map& image) {
  Map gradient(image.extent(), 3);
  const auto spread = [&](auto slope) {
    for_neighbours(image, [&](std::size_t a, std::size_t b) {
      const double own = slope(image.values[b] - image.values[a]);
      gradient.values[b] += own;
      gradient.values[a] -= own;
    });
  };
  switch (regulariser.kind) {
    case Regulariser::Kind::total_variation_l1:
      spread(sign);
      break;
    case Regulariser::Kind::total_variation_l2:
      spread([](double difference) { return 2 * difference; });
      break;
    case Regulariser::Kind::lp_norm: {
      const double power = regulariser.power;
      const double norm = std::pow(power_sum(image, power), 1 / power);
      for (std::size_t i = 0; i < image.values.size() && norm > 0; ++i)
        gradient.values[i] = sign(image.values[i]) * std::pow(std::abs(image.values[i]) / norm, power - 1);
      break;
    }
    case Regulariser::Kind::mean_magnitude:
      std::ranges::transform(image.values, gradient.values.begin(), sign);
      break;
  }
  for (double& value : gradient.values)
    value *= regulariser.weight / static_cast<double>(image.values.size());
  return gradient;
}

void step(const Stage& stage, int iteration, const Values& gradient, std::vector<Values>& state,
          Values& parameters) {
  const GradientNormalisation& normalisation = stage.normalisation;
  double squares = 0;
  for (const double value : gradient) squares += value * value;
  double divisor = 1;
  if (normalisation.kind != GradientNormalisation::Kind::none && squares > 0) {
    const bool rms = normalisation.kind == GradientNormalisation::Kind::rms;
    const double power = rms ? squares / static_cast<double>(gradient.size()) : squares;
    divisor = normalisation.epsilon_place == GradientNormalisation::EpsilonPlace::added
                  ? std::sqrt(power) + normalisation.epsilon
                  : std::sqrt(std::max(power, double{normalisation.epsilon}));
  }
  const Optimiser& optimiser = stage.optimiser;
  if (state.empty()) state.assign(2, Values(parameters.size()));
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    double& x = parameters[i];
    double& m = state[0][i];
    double& v = state[1][i];
    const double g = gradient[i] / divisor - double{optimiser.weight_decay} * x;
    const double step = optimiser.step;
    switch (optimiser.kind) {
      case Optimiser::Kind::ascent:
        x += step * g;
        break;
      case Optimiser::Kind::momentum:
        m = double{optimiser.momentum} * m + g;
        x += step * m;
        break;
      case Optimiser::Kind::adam: {
        const double beta1 = optimiser.beta1;
        const double beta2 = optimiser.beta2;
        m = beta1 * m + (1 - beta1) * g;
        v = beta2 * v + (1 - beta2) * g * g;
        x += step * (m / (1 - std::pow(beta1, iteration))) /
             (std::sqrt(v / (1 - std::pow(beta2, iteration))) + double{optimiser.epsilon});
        break;
      }
      case Optimiser::Kind::rmsprop:
        v = double{optimiser.rho} * v + (1 - double{optimiser.rho}) * g * g;
        x += step * g / std::sqrt(v + double{optimiser.epsilon});
        break;
    }
    x *= 1 - double{stage.after_step.decay};
    if (const auto& clip = stage.after_step.clip)
      x = std::min(std::max(x, double{clip->low}), double{clip->high});
  }
  if (stage.after_step.blur_every > 0 && iteration % stage.after_step.blur_every == 0) {
    Map image(stage.extent, 3);
    image.values = parameters;
    parameters = blur(stage.after_step.blur_deviation, image).values;
  }
}

Map blur(double deviation, const Map& image) {
  const int radius = static_cast<int>(std::ceil(3 * deviation));
  Map result(image.extent(), 3);
  double all = 0;
  for (int i = -radius; i <= radius; ++i) all += std::exp(-i * i / (2 * deviation * deviation));
  for (int y = 0; y < image.height; ++y) {
    for (int x = 0; x < image.width; ++x) {
      for (int dy = -radius; dy <= radius; ++dy) {
        for (int dx = -radius; dx <= radius; ++dx) {
          const double weight = std::exp(-(dy * dy + dx * dx) / (2 * deviation * deviation)) / (all * all);
          const int row = std::clamp(y + dy, 0, image.height - 1);
          const int column = std::clamp(x + dx, 0, image.width - 1);
          for (int c = 0; c < 3; ++c) result.at(y, x, c) += weight * image.at(row, column, c);
        }
      }
    }
  }
  return result;
}

}  // namespace filterscope::reference
