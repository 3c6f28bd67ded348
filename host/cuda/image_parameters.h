#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <optional>

#include "../ascent/recipe.h"
#include "fourier.h"
#include "kernels/image/colour.h"
#include "kernels/image/spectrum.h"
#include "runtime.h"

namespace filterscope::cuda {

/// What lies between the parameters of a batch of images and the images, [images][height][width][3], on the
/// device. Parameters are [images][size()]. Work is only enqueued.
class ImageParameters {
 public:
  /// Throws OutOfMemory, and a device Error if cuFFT is needed and cannot be loaded.
  ImageParameters(const Parameterisation& parameterisation, Extent extent, int images);
  static std::size_t bytes(const Parameterisation& parameterisation, Extent extent, int images);

  /// Parameters of an image.
  static std::size_t size(const Parameterisation& parameterisation, Extent extent);
  /// The parameters are the image. Then the functions below do nothing but copy.
  static bool are_image(const Parameterisation& parameterisation);

  void to_images(const float* parameters, float* images, cudaStream_t stream) const;
  /// `images` and `parameters` may be the same if the parameters are pixels.
  void from_images(const float* images, float* parameters, cudaStream_t stream) const;
  /// From the gradients with respect to `images` to those with respect to the parameters. The result lies in
  /// memory of this object or in that of `gradients`, which change.
  const float* adjoint(const float* images, float* gradients, cudaStream_t stream) const;

 private:
  kernels::ColourArguments colour_arguments(const float* in, float* out, const kernels::ColourMap& map) const;
  kernels::SpectrumArguments spectrum_arguments(const float* in, float* out) const;

  Parameterisation parameterisation_;
  Extent extent_;
  int count_;
  kernels::ColourMap map_;
  kernels::ColourMap inverse_map_;
  // Only of Fourier parameters.
  std::optional<FourierTransforms> transforms_;
  DeviceBuffer<float> scale_;
  DeviceBuffer<float> spectra_;
  DeviceBuffer<float> planes_;
};

}  // namespace filterscope::cuda
