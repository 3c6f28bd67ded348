#pragma once

#include "divisor.h"
#include "types.h"

namespace filterscope::kernels {

/// The 2x2 windows that cover maps [images][height][width], numbered row by row and image by image. At an odd
/// edge they extend beyond the image; where height and width are even they are the outputs of a 2x2 max-pool
/// of stride 2.
class Windows {
 public:
  /// A window's upper left element.
  struct Origin {
    int position;  ///< Over all images.
    int y;
    int x;
  };

  Windows() = default;
  constexpr Windows(int height, int width)
      : height_(height), width_(width), columns_((width + 1) / 2), rows_((height + 1) / 2) {}

  /// Number of windows per row, and per image.
  __host__ __device__ constexpr const Divisor& columns() const { return columns_; }
  __host__ __device__ constexpr int per_image() const { return columns_.divisor() * rows_.divisor(); }

  /// The origin of any window, also beyond the last image.
  __host__ __device__ constexpr Origin origin(int window) const {
    const int line = columns_.quotient(window);
    const int image = rows_.quotient(line);
    const int y = 2 * (line - image * rows_.divisor());
    const int x = 2 * (window - line * columns_.divisor());
    return {.position = (image * height_ + y) * width_ + x, .y = y, .x = x};
  }

 private:
  int height_ = 0;
  int width_ = 0;
  Divisor columns_;
  Divisor rows_;
};

}  // namespace filterscope::kernels
