#pragma once

#include <fmt/format.h>

#include <span>

#include "../check.h"
#include "kernels/first_layer/input_map.h"

/// Checks of the kernels that read images or write their gradients.
namespace filterscope::bench {

/// Colours in reverse order, scaled and shifted, so that a kernel that omits the input map fails.
inline constexpr kernels::InputMap kColours{
    .source = {2, 1, 0}, .scale = {2.f, 0.5f, 1.f}, .offset = {-0.25f, 0.f, 0.5f}};

/// The network's input channel that reads a colour by kColours.
constexpr int input_of_colour(int colour) {
  return 2 - colour;
}
/// A value of the network's input. `image`: [positions][3].
inline double mapped(std::span<const float> image, std::size_t position, int channel) {
  return double{kColours.scale[channel]} * image[position * 3 + kColours.source[channel]] +
         kColours.offset[channel];
}

/// Compares a kernel's partial sums of squares with the image's gradient that it wrote.
inline void compare_squares(Comparison& comparison, int image, std::span<const float> gradient,
                            std::span<const float> parts) {
  double actual = 0;
  for (const float part : parts) actual += part;
  double expected = 0;
  for (const float value : gradient) expected += double{value} * value;
  comparison.near(actual, expected, 1e-5 * expected,
                  [&] { return fmt::format("the sum of squares of image {}", image); });
}

}  // namespace filterscope::bench
