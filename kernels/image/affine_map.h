#pragma once

#include <cstdint>

#include "../common/philox.h"
#include "../common/types.h"

namespace filterscope::kernels {

/// Where a position of a canvas lies in an image: image = matrix * canvas + shift, both as (y, x) from the
/// centre ((height - 1) / 2, (width - 1) / 2), in pixels. Default: the same place.
struct AffineMap {
  float matrix[2][2] = {{1, 0}, {0, 1}};
  float shift[2] = {0, 0};
};

/// One random change of an image's geometry.
struct RandomTransform {
  enum class Kind : int {
    none,    ///< Nothing; its draws are not used.
    jitter,  ///< A shift by whole pixels, down and right, each uniform in -pixels/2 .. (pixels - 1)/2.
    scale,   ///< Enlarged by the number drawn.
    rotate,  ///< Turned by the number drawn, in degrees, counter-clockwise as displayed.
    flip,    ///< Left and right exchanged, every other time.
  };
  Kind kind = Kind::none;
  int pixels = 0;
  float low = 0.f;  ///< Without choices, the number is uniform in [low, high).
  float high = 0.f;
  int first_choice = 0;  ///< Otherwise it is one of DrawMapsArguments::choices.
  int choices_count = 0;
};

/// A list of transforms has room for this many, each with draws of its own.
constexpr int kMostTransforms = 16;

struct DrawMapsArguments {
  RandomTransform transforms[kMostTransforms];  ///< In the order in which they are applied.
  int transforms_count;
  const float* choices;  ///< May be null if no transform has any.
  RandomStream stream;
  std::uint64_t seed;
  const int* layers;     ///< [images] Each image's target layer.
  const int* filters;    ///< [images] Each image's filter in that layer.
  const int* iteration;  ///< The number of iterations so far; draws are those of the next.
  AffineMap* maps;       ///< Out. [images], or [transforms_count][images] if separate.
  bool separate;         ///< A map for each transform, instead of one of all.
  int images_count;
};

/// Draws the maps of an iteration. Transform number i draws from the block that has index iteration * 16 + i
/// in the image's stream, its word 0 (jitter: 0 for y, 1 for x). Throws LaunchError.
void draw_maps(const DrawMapsArguments& arguments, cudaStream_t stream);

}  // namespace filterscope::kernels
