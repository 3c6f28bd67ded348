#pragma once

#include <cstdint>
#include <span>

#include "../model/network.h"
#include "recipe.h"

namespace filterscope {

/// The start image of one filter: value i of the row-major [height, width, 3] image is word i % 4 of
/// random_block(seed, initial_image, layer, filter, i / 4), as a number in [0, 1) scaled to the recipe's
/// range.
void initial_noise(const InitialImage& recipe, std::uint64_t seed, FilterId id, std::span<float> image);

/// Sum of squares, accumulated in double in memory order.
double sum_of_squares(std::span<const float> values);

/// The recipe's normalisation and optimiser in one pass:
/// image += step * gradient / sqrt(max(sum of squares, epsilon)).
void normalise_and_step(const Recipe& recipe, double sum_of_squares, std::span<const float> gradient,
                        std::span<float> image);

/// The 8-bit picture of an image, one byte per value: round(255 * (x - min) / (max - min)), halves up; a
/// constant image becomes black.
void encode_picture(PictureMapping mapping, std::span<const float> image, std::span<std::uint8_t> picture);

}  // namespace filterscope
