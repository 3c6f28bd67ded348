#pragma once

#include <vector>

#include "../ascent/recipe.h"
#include "kernels/image/affine_map.h"
#include "kernels/image/colour.h"
#include "kernels/image/warp.h"
#include "kernels/optimiser/optimiser_step.h"
#include "kernels/picture/encode_picture.h"

/// Parts of a recipe as arguments of kernels, which know no recipes.
namespace filterscope::cuda {

/// Colour and range, for kernels::colour_forward() and colour_adjoint(); and for colour_inverse().
kernels::ColourMap colour_map(const Parameterisation& parameterisation);
kernels::ColourMap inverse_colour_map(const Parameterisation& parameterisation);

/// `transforms` for kernels::draw_maps(); their choices are appended to `choices`. The other arguments are
/// not set.
kernels::DrawMapsArguments draw_arguments(const Transforms& transforms, std::vector<float>& choices);
kernels::WarpBorder warp_border(Border border);

kernels::NormalisationRule normalisation_rule(const GradientNormalisation& normalisation);
/// With what is done to the parameters after the step, except the blur.
kernels::OptimiserRule optimiser_rule(const Optimiser& optimiser, const AfterStep& after);

/// How whole images of `extent` become pictures: without Picture::extent and crop. Arrays and the number of
/// images are not set.
kernels::EncodePictureArguments encode_arguments(const Picture& picture, Extent extent);

}  // namespace filterscope::cuda
