#include "fourier.h"

#include <algorithm>
#include <cmath>
#include <complex>
#include <kissfft.hh>
#include <vector>

namespace filterscope {

namespace {

using Complex = std::complex<float>;

// The image is the inverse transform divided by this (Lucid, optvis/param/spatial.py).
constexpr float kImageDivisor = 4.f;

}  // namespace

std::vector<float> spectrum_scale(Extent extent, float decay) {
  const double lowest = 1. / std::max(extent.height, extent.width);
  const double norm = std::sqrt(static_cast<double>(extent.positions())) / kImageDivisor;
  std::vector<float> scale;
  for (int y = 0; y < extent.height; ++y) {
    const double fy =
        static_cast<double>(y <= (extent.height - 1) / 2 ? y : y - extent.height) / extent.height;
    for (int x = 0; x < extent.width / 2 + 1; ++x) {
      const double frequency = std::hypot(fy, static_cast<double>(x) / extent.width);
      scale.push_back(static_cast<float>(norm / std::pow(std::max(frequency, lowest), double{decay})));
    }
  }
  return scale;
}

// A transform of a size with prime factors above 5 writes to its plan, so every call takes copies of plans.
struct FourierImage::Plans {
  Plans(Extent image, float decay)
      : extent(image),
        columns(image.width / 2 + 1),
        rows_forward(image.width, false),
        rows_inverse(image.width, true),
        columns_forward(image.height, false),
        columns_inverse(image.height, true),
        scale(spectrum_scale(image, decay)) {}

  std::size_t plane() const { return static_cast<std::size_t>(extent.height) * columns; }
  // How many coefficients of the whole spectrum one of column `x` stands for.
  bool is_single(int x) const { return x == 0 || 2 * x == extent.width; }

  // Transforms the columns of `spectrum`, [height][columns], in place.
  void transform_columns(const kissfft<float> plan, std::vector<Complex>& spectrum) const {
    std::vector<Complex> column(extent.height);
    std::vector<Complex> result(extent.height);
    for (int x = 0; x < columns; ++x) {
      for (int y = 0; y < extent.height; ++y) column[y] = spectrum[static_cast<std::size_t>(y) * columns + x];
      plan.transform(column.data(), result.data());
      for (int y = 0; y < extent.height; ++y) spectrum[static_cast<std::size_t>(y) * columns + x] = result[y];
    }
  }

  // The real image of `spectrum`, [height][columns], as channel `channel` of `image`, times `factor`.
  // Destroys the spectrum. Two rows at a time are the real and the imaginary part of one transform.
  void inverse(std::vector<Complex>& spectrum, float factor, int channel, std::span<float> image) const {
    transform_columns(columns_inverse, spectrum);
    const kissfft<float> plan = rows_inverse;
    const std::vector<Complex> none(columns);
    std::vector<Complex> rows(extent.width);
    std::vector<Complex> result(extent.width);
    for (int y = 0; y < extent.height; y += 2) {
      const bool pair = y + 1 < extent.height;
      const Complex* const upper = spectrum.data() + static_cast<std::size_t>(y) * columns;
      const Complex* const lower = pair ? upper + columns : none.data();
      for (int x = 0; x < columns; ++x) {
        if (is_single(x)) {
          rows[x] = {upper[x].real(), lower[x].real()};
          continue;
        }
        rows[x] = {upper[x].real() - lower[x].imag(), upper[x].imag() + lower[x].real()};
        rows[extent.width - x] = {upper[x].real() + lower[x].imag(), lower[x].real() - upper[x].imag()};
      }
      plan.transform(rows.data(), result.data());
      float* to = image.data() + static_cast<std::size_t>(y) * extent.width * 3 + channel;
      for (int x = 0; x < extent.width; ++x) to[x * 3] = result[x].real() * factor;
      to += static_cast<std::size_t>(extent.width) * 3;
      for (int x = 0; x < extent.width && pair; ++x) to[x * 3] = result[x].imag() * factor;
    }
  }

  // The spectrum of one channel of `image`, [height][columns].
  std::vector<Complex> forward(std::span<const float> image, int channel) const {
    const kissfft<float> plan = rows_forward;
    std::vector<Complex> spectrum(plane());
    std::vector<Complex> rows(extent.width);
    std::vector<Complex> result(extent.width);
    for (int y = 0; y < extent.height; y += 2) {
      const bool pair = y + 1 < extent.height;
      const float* const from = image.data() + static_cast<std::size_t>(y) * extent.width * 3 + channel;
      const std::size_t row = static_cast<std::size_t>(extent.width) * 3;
      for (int x = 0; x < extent.width; ++x) rows[x] = {from[x * 3], pair ? from[row + x * 3] : 0.f};
      plan.transform(rows.data(), result.data());
      Complex* const upper = spectrum.data() + static_cast<std::size_t>(y) * columns;
      for (int x = 0; x < columns; ++x) {
        const Complex a = result[x];
        const Complex b = std::conj(result[x == 0 ? 0 : extent.width - x]);
        upper[x] = 0.5f * (a + b);
        if (pair) upper[columns + x] = {0.5f * (a.imag() - b.imag()), 0.5f * (b.real() - a.real())};
      }
    }
    transform_columns(columns_forward, spectrum);
    return spectrum;
  }

  Extent extent;
  int columns;
  kissfft<float> rows_forward;
  kissfft<float> rows_inverse;
  kissfft<float> columns_forward;
  kissfft<float> columns_inverse;
  std::vector<float> scale;  // [height][columns]
};

FourierImage::FourierImage(Extent extent, float decay) : plans_(std::make_unique<Plans>(extent, decay)) {}
FourierImage::~FourierImage() = default;
FourierImage::FourierImage(FourierImage&&) noexcept = default;

std::size_t FourierImage::size() const {
  return plans_->plane() * 3 * 2;
}

void FourierImage::to_image(std::span<const float> coefficients, std::span<float> image) const {
  const float factor = 1.f / static_cast<float>(plans_->extent.positions());
  std::vector<Complex> spectrum(plans_->plane());
  for (int channel = 0; channel < 3; ++channel) {
    const float* from = coefficients.data() + plans_->plane() * 2 * channel;
    for (std::size_t i = 0; i < spectrum.size(); ++i)
      spectrum[i] = Complex(from[2 * i], from[2 * i + 1]) * plans_->scale[i];
    plans_->inverse(spectrum, factor, channel, image);
  }
}

void FourierImage::adjoint(std::span<const float> image_gradient, std::span<float> gradient) const {
  const float factor = 1.f / static_cast<float>(plans_->extent.positions());
  for (int channel = 0; channel < 3; ++channel) {
    const std::vector<Complex> spectrum = plans_->forward(image_gradient, channel);
    float* to = gradient.data() + plans_->plane() * 2 * channel;
    for (std::size_t i = 0; i < spectrum.size(); ++i) {
      // A coefficient and its conjugate of the other half count together.
      const bool single = plans_->is_single(static_cast<int>(i % plans_->columns));
      const Complex value = spectrum[i] * (plans_->scale[i] * factor * (single ? 1.f : 2.f));
      to[2 * i] = value.real();
      to[2 * i + 1] = value.imag();
    }
  }
}

void FourierImage::from_image(std::span<const float> image, std::span<float> coefficients) const {
  for (int channel = 0; channel < 3; ++channel) {
    const std::vector<Complex> spectrum = plans_->forward(image, channel);
    float* to = coefficients.data() + plans_->plane() * 2 * channel;
    for (std::size_t i = 0; i < spectrum.size(); ++i) {
      to[2 * i] = spectrum[i].real() / plans_->scale[i];
      to[2 * i + 1] = spectrum[i].imag() / plans_->scale[i];
    }
  }
}

}  // namespace filterscope
