#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "../recipe.h"

namespace filterscope {

/// The weights of one element of a resampled dimension, of elements from `first` on.
struct ResamplingTaps {
  int first;
  std::vector<double> weights;
};
/// Those of `to` elements made of `from`, as Pillow computes them: for 8-bit pictures
/// (Resampling::through_picture), they are multiples of 2^-22, so that sums are exact.
std::vector<ResamplingTaps> resampling_taps(const Resampling& resampling, int from, int to);

/// `from`, [height][width][3], brought to another size. `picture` serves Resampling::through_picture.
void resample(const Resampling& resampling, const Picture& picture, std::span<const float> from,
              Extent from_extent, std::span<float> to, Extent to_extent);

/// The 8-bit picture of an image, [height][width][3], with Picture::extent and crop applied.
std::vector<std::uint8_t> encode_picture(const Picture& picture, std::span<const float> image, Extent extent);

}  // namespace filterscope
