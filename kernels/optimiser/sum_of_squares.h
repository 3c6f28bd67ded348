#pragma once

#include "../common/types.h"

namespace filterscope::kernels {

/// Parts in which sum_of_squares() sums an image's values; all have the same size, except the last.
constexpr int kSquaresPerPart = 4096;
constexpr int square_parts(int values_per_image) {
  return ceil_div(values_per_image, kSquaresPerPart);
}

/// squares[image][part] = sum of the squares of a part of `values`, [images][values_per_image], in a fixed
/// order; squares are [images][square_parts(values_per_image)]. Throws LaunchError.
void sum_of_squares(const float* values, float* squares, int images_count, int values_per_image,
                    cudaStream_t stream);

}  // namespace filterscope::kernels
