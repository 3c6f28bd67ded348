#pragma once

#include "../common/global.h"
#include "../common/reduce.h"
#include "moments.h"

namespace filterscope::kernels {

/// Moments of one image, by a block of kThreads in a fixed order; every thread gets them. All threads must
/// call it.
template <int kThreads>
__device__ Moments moments_of(Global<const float> images, std::int64_t image, int values_per_image) {
  const std::int64_t begin = image * values_per_image;
  const int first = static_cast<int>(threadIdx.x);
  double sum = 0;
  for (int at = first; at < values_per_image; at += kThreads) sum += images.load(begin + at);
  const double mean = block_reduce<Sum, kThreads>(sum) / values_per_image;
  double squares = 0;
  for (int at = first; at < values_per_image; at += kThreads) {
    const double difference = images.load(begin + at) - mean;
    squares += difference * difference;
  }
  return {mean, sqrt(block_reduce<Sum, kThreads>(squares) / values_per_image)};
}

}  // namespace filterscope::kernels
