#pragma once

#include <cstdint>

#include "../common/types.h"

namespace filterscope::kernels {

/// Arrays are seen as [outer][size][inner]; the middle dimension is resampled. For the rows of images, outer
/// is images * height and inner 3, for their columns images and width * 3.
template <class T>
struct ResampleArguments {
  const T* from;  ///< [outer][from_size][inner]
  float* to;      ///< Out. [outer][to_size][inner]
  /// [to_size] The first of the elements that an element is made of, how many they are, and what they are
  /// multiplied with, [to_size][most_taps].
  const int* first;
  const int* taps;
  const double* weights;
  int most_taps;
  bool bytes;  ///< Rounds the result, halves up, into 0..255.
  std::int64_t outer;
  int from_size;
  int to_size;
  int inner;
};

/// to[o][i][k] = the sum of weights[i][t] * from[o][first[i] + t][k] over t, in double. T is float or
/// std::uint8_t. Throws LaunchError.
template <class T>
void resample(const ResampleArguments<T>& arguments, cudaStream_t stream);

}  // namespace filterscope::kernels
