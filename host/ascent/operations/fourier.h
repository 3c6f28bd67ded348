#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <vector>

#include "../../base/extent.h"

namespace filterscope {

/// What a coefficient is multiplied with before the inverse transform of an image, which divides by height *
/// width: [height][width / 2 + 1].
std::vector<float> spectrum_scale(Extent extent, float decay);

/// Images of three channels as real two-dimensional spectra: Parameterisation::Kind::fourier. Coefficients
/// are [3][height][width / 2 + 1][2], the last the real and the imaginary part; images [height][width][3].
/// For several threads at once.
class FourierImage {
 public:
  FourierImage(Extent extent, float decay);
  ~FourierImage();
  FourierImage(FourierImage&&) noexcept;

  /// Floats of the coefficients.
  std::size_t size() const;
  /// The image of `coefficients`. Where a real image has redundant coefficients (the first column and, for
  /// even widths, the last), their Hermitian part counts, as in numpy's irfft2.
  void to_image(std::span<const float> coefficients, std::span<float> image) const;
  /// The adjoint of to_image(): the gradient with respect to the coefficients.
  void adjoint(std::span<const float> image_gradient, std::span<float> gradient) const;
  /// Coefficients whose image is `image`.
  void from_image(std::span<const float> image, std::span<float> coefficients) const;

 private:
  struct Plans;
  std::unique_ptr<const Plans> plans_;
};

}  // namespace filterscope
