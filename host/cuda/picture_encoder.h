#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "../ascent/operations/picture.h"
#include "../ascent/recipe.h"
#include "kernels/picture/moments.h"
#include "runtime.h"

namespace filterscope::cuda {

/// Brings images on the device to another size, as resample() does on the host, a few images at a time, so
/// that what lies in between takes little memory. Images are [images][height][width][3]; work is only
/// enqueued.
class Resampler {
 public:
  /// Throws OutOfMemory.
  Resampler(const Resampling& resampling, const Picture& picture, Extent from, Extent to);
  static std::size_t bytes(Extent from, Extent to);

  void operator()(const float* from, float* to, int images, cudaStream_t stream) const;

 private:
  // The weights of one dimension, on the device.
  struct Taps {
    explicit Taps(std::span<const ResamplingTaps> taps);
    DeviceBuffer<int> first;
    DeviceBuffer<int> counts;
    DeviceBuffer<double> weights;
    int most;
  };

  void resample_some(const float* from, float* to, int images, cudaStream_t stream) const;

  Resampling resampling_;
  Picture picture_;
  Extent from_;
  Extent to_;
  Taps across_;
  Taps down_;
  DeviceBuffer<float> wide_;             // Images whose rows are resampled.
  DeviceBuffer<std::uint8_t> bytes_;     // Only for through_picture.
  DeviceBuffer<kernels::Moments> unit_;  // A mean of 0 and a deviation of 1.
  DeviceBuffer<kernels::Moments> before_;
  DeviceBuffer<kernels::Moments> after_;
};

/// Makes pictures of images on the device, as encode_picture() does on the host. Images of an extent other
/// than the last stage's are resampled to that first. Work is only enqueued.
class PictureEncoder {
 public:
  /// Throws OutOfMemory.
  PictureEncoder(const Recipe& recipe, Extent extent);
  static std::size_t bytes(const Recipe& recipe, Extent extent);

  /// From [images][height][width][3] to [images][picture height][picture width][3].
  void operator()(const float* images, std::uint8_t* pictures, int count, cudaStream_t stream) const;

 private:
  void encode(const float* images, std::uint8_t* pictures, int count, cudaStream_t stream) const;

  Picture picture_;
  Extent extent_;  // Of the images.
  Extent last_;    // Of the last stage.
  Extent whole_;   // Of the pictures before they are cropped.
  std::size_t picture_size_;
  std::optional<Resampler> to_last_;
  std::optional<Resampler> to_whole_;
  DeviceBuffer<float> last_images_;
  DeviceBuffer<float> whole_images_;
};

}  // namespace filterscope::cuda
