#pragma once

#include <cstdint>
#include <span>

#include "../../model/network.h"
#include "../recipe.h"

namespace filterscope {

/// Where a position of a canvas lies in an image: image = matrix * canvas + shift, both as (y, x) from the
/// centre ((height - 1) / 2, (width - 1) / 2), in pixels.
struct AffineMap {
  float matrix[2][2] = {{1, 0}, {0, 1}};
  float shift[2] = {0, 0};

  bool operator==(const AffineMap&) const = default;
};

/// The map of one filter's transforms in one iteration of the run, counted from 1; iteration 0 draws
/// nothing: no shift, scale 1, angle 0. Transform number i draws from random_block(seed, transforms, layer,
/// filter, iteration * 16 + i), its word 0 (jitter: 0 for y, 1 for x). Of n choices or shifts, a word means
/// number word * n / 2^32, rounded down.
AffineMap draw_map(const Transforms& transforms, std::uint64_t seed, FilterId id, int iteration);

/// Samples `image` bilinearly at the positions of the canvas; [height][width][3] both.
void warp(const AffineMap& map, Border border, float value, std::span<const float> image, Extent image_extent,
          std::span<float> canvas, Extent canvas_extent);
/// The adjoint for Border::constant: the gradient with respect to the image. Each pixel's sum is taken in the
/// order of the canvas.
void warp_adjoint(const AffineMap& map, std::span<const float> canvas_gradient, Extent canvas_extent,
                  std::span<float> image_gradient, Extent image_extent);

/// Stage::kept_transforms in one iteration: each is a sampling of its own. `scratch` is as large as `image`.
/// Draws as draw_map() does, from the stream kept_transforms.
void apply_kept_transforms(const Transforms& transforms, std::uint64_t seed, FilterId id, int iteration,
                           Extent extent, std::span<float> image, std::span<float> scratch);

}  // namespace filterscope
