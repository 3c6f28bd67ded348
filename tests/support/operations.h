#pragma once

#include <vector>

#include "host/ascent/operations/transforms.h"
#include "host/ascent/recipe.h"
#include "tests/support/reference.h"

/// The operations of recipes in double precision: plain loops over formulas, which share the recipe's data
/// and the random draws with the program, but no arithmetic.
namespace filterscope::reference {

using Values = std::vector<double>;

/// Parameters -> image and its adjoint, by a discrete Fourier transform term by term. Spectra are
/// [3][height][width / 2 + 1][2].
Map to_image(const Parameterisation& parameterisation, Extent extent, const Values& parameters);
Values parameters_gradient(const Parameterisation& parameterisation, const Map& image,
                           const Map& image_gradient);

/// Bilinear samples of an image, pixel by pixel; and the adjoint, which scatters.
Map warp(const AffineMap& map, Border border, double value, const Map& image, Extent canvas);
Map warp_adjoint(const AffineMap& map, const Map& canvas_gradient, Extent image);

double penalty(const Regulariser& regulariser, const Map& image);
Map penalty_gradient(const Regulariser& regulariser, const Map& image);

/// One step along `gradient`, from what AscentProgram's step sees: normalisation, optimiser, decay, clip,
/// blur. `state` is empty before the first.
void step(const Stage& stage, int iteration, const Values& gradient, std::vector<Values>& state,
          Values& parameters);
Map blur(double deviation, const Map& image);

/// Resampled without rounding to bytes, by weights summed term by term.
Map resample(Resampling::Kind kind, const Map& image, Extent extent);
/// The picture's values before rounding, in 0..255; resampling and crop are not applied.
Values picture_values(const Picture& picture, const Map& image);

}  // namespace filterscope::reference
