#pragma once

#include <span>

#include "../recipe.h"

namespace filterscope {

/// The colour and range of a parameterisation, in place on `values`, [positions][3]. Nothing happens for
/// Colour::as_is and Range::unbounded.
void to_image(const Parameterisation& parameterisation, std::span<float> values);
/// Changes the gradient with respect to the image, `gradient`, into that with respect to the values before
/// colour and range. `image` is the result of to_image().
void image_adjoint(const Parameterisation& parameterisation, std::span<const float> image,
                   std::span<float> gradient);
/// The inverse of to_image(). Values outside what a sigmoid reaches are brought to 1/1024 from its ends.
void from_image(const Parameterisation& parameterisation, std::span<float> values);

}  // namespace filterscope
