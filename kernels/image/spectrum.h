#pragma once

#include "../common/types.h"

/// What surrounds the Fourier transforms of images that are parameterised by their spectra. Spectra are
/// [images][3][height][width / 2 + 1] complex numbers, real and imaginary part interleaved: the half of a
/// real image's spectrum that cuFFT's transforms between real and complex arrays read and write.
namespace filterscope::kernels {

/// Arrays are 8-byte aligned.
struct SpectrumArguments {
  const float* in;     ///< A spectrum.
  float* out;          ///< Out. Another.
  const float* scale;  ///< [height][width / 2 + 1]: by it a coefficient counts in the image. The same for
                       ///< rows y and height - y, whose frequencies are.
  int images_count;
  int height;
  int width;
};

/// out = what an inverse real transform that divides by nothing makes the image of: the coefficients times
/// scale. In the columns that a real image has twice (the first and, for even widths, the last), it is their
/// Hermitian part. `in` and `out` must not be the same. Throws LaunchError.
void scale_spectrum(const SpectrumArguments& arguments, cudaStream_t stream);
/// The adjoint of scale_spectrum() and that transform, after the forward transform: a coefficient and its
/// conjugate in the half that is not stored count together. `in` and `out` may be the same. Throws
/// LaunchError.
void spectrum_adjoint(const SpectrumArguments& arguments, cudaStream_t stream);
/// The coefficients of an image, after the forward transform: the inverse of scale_spectrum() and that
/// transform. `in` and `out` may be the same. Throws LaunchError.
void spectrum_inverse(const SpectrumArguments& arguments, cudaStream_t stream);

}  // namespace filterscope::kernels
