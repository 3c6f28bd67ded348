#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "../recipe.h"

namespace filterscope {

/// Sum of squares, accumulated in double in memory order.
double sum_of_squares(std::span<const float> values);

/// What a gradient of `values` values with this sum of squares is divided by.
double normalisation_divisor(const GradientNormalisation& normalisation, double sum_of_squares,
                             std::size_t values);

/// Values of state that the optimiser keeps for each parameter: 0, 1 or 2.
int optimiser_state(const Optimiser& optimiser);

/// One step: `parameters` change along gradient / `divisor`, uphill; then AfterStep::decay and clip. `state`
/// is [optimiser_state()][parameters], zero before the stage's first step. `iteration` counts the stage's
/// steps from 1.
void take_step(const Stage& stage, int iteration, double divisor, std::span<const float> gradient,
               std::span<float> state, std::span<float> parameters);

/// Weights of a Gaussian at -r .. r, out to 3 standard deviations.
std::vector<float> blur_weights(float deviation);
/// A Gaussian blur of an image, [height][width][3], by blur_weights() in x and in y, with edge pixels
/// repeated.
void blur(float deviation, Extent extent, std::span<float> image, std::span<float> scratch);

}  // namespace filterscope
