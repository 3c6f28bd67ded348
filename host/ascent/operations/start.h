#pragma once

#include <cstdint>
#include <span>

#include "../../model/network.h"
#include "../recipe.h"

namespace filterscope {

/// The start values of one filter, from random_block(seed, initial_image, layer, filter, i / 4): uniform
/// value i is word i % 4 as a number in [0, 1) scaled to [low, high); Gaussian values 2 k and 2 k + 1 come
/// from words u and v, by Box and Muller (1958): sqrt(-2 ln u) times cos and sin of 2 pi v, u in (0, 1].
void draw_start(const Start& start, std::uint64_t seed, FilterId id, std::span<float> values);

}  // namespace filterscope
