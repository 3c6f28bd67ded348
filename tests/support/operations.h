#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "host/ascent/operations/transforms.h"
#include "host/ascent/recipe.h"
#include "tests/support/reference.h"

/// The operations of recipes in double precision: plain loops over formulas, which share the recipe's data
/// and the words of its random numbers with the program, but no arithmetic.
namespace filterscope::reference {

using Values = std::vector<double>;

/// What a start draws for a filter.
Values start_values(const Start& start, std::uint64_t seed, FilterId id, std::size_t count);

/// Parameters -> image and its adjoint, by a discrete Fourier transform term by term. Spectra are
/// [3][height][width / 2 + 1][2].
Map to_image(const Parameterisation& parameterisation, Extent extent, const Values& parameters);
Values parameters_gradient(const Parameterisation& parameterisation, const Map& image,
                           const Map& image_gradient);

/// The parameters of an image; sigmoids are kept from their ends by 1/1024.
Values parameters_of(const Parameterisation& parameterisation, const Map& image);

/// The map of Stage::transforms in one iteration of the run.
AffineMap draw_map(const Transforms& transforms, std::uint64_t seed, FilterId id, int iteration);
/// The image after Stage::kept_transforms, one sampling each.
Map keep_transforms(const Transforms& transforms, std::uint64_t seed, FilterId id, int iteration,
                    const Map& image);
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
/// Resampled as between stages. Bytes in whole numbers, as Pillow computes them.
Map resample(const Resampling& resampling, const Picture& picture, const Map& image, Extent extent);
/// The picture's values before rounding, in 0..255; resampling and crop are not applied.
Values picture_values(const Picture& picture, const Map& image);

}  // namespace filterscope::reference
