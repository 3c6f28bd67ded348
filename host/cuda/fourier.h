#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <memory>
#include <string>

#include "../base/extent.h"
#include "runtime.h"

namespace filterscope::cuda {

/// The version of the loaded cuFFT, such as "12.0.0". Throws a device Error if it cannot be loaded.
std::string cufft_version();

/// Transforms between images of three planes, [images][3][height][width], and the halves of their spectra,
/// [images][3][height][width / 2 + 1] complex numbers, by cuFFT. Neither direction divides by anything.
/// Images are transformed in groups of a size that depends on the extent alone, since cuFFT may choose
/// another algorithm for another number of transforms: so an image's bits do not depend on how many others
/// there are.
class FourierTransforms {
 public:
  /// On the device that is current. Throws OutOfMemory, and a device Error if cuFFT cannot be loaded or
  /// fails.
  FourierTransforms(Extent extent, int images);
  ~FourierTransforms();
  FourierTransforms(const FourierTransforms&) = delete;
  FourierTransforms& operator=(const FourierTransforms&) = delete;

  /// Images that arrays must have room for: whole groups. Those past the last image may hold anything.
  static int padded(Extent extent, int images);
  /// Upper bound of the device memory of the transforms.
  static std::size_t bytes(Extent extent);

  /// From spectra, which are destroyed, to planes. In columns of coefficients that a real image has twice,
  /// both must be conjugates of each other.
  void inverse(float* spectra, float* planes, cudaStream_t stream) const;
  void forward(float* planes, float* spectra, cudaStream_t stream) const;

 private:
  class Plan;

  Extent extent_;
  int groups_;
  std::unique_ptr<Plan> inverse_;
  std::unique_ptr<Plan> forward_;
  DeviceBuffer<std::byte> work_;  // Shared: the two directions follow each other.
};

}  // namespace filterscope::cuda
