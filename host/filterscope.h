#pragma once

/// filterscope as a library: what every convolution filter of a VGG network looks for.
///
///   using namespace filterscope;
///   const Network& network = vgg16();
///   Weights weights = resolve_weights("vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5", network);
///   auto renderer = make_renderer(network, weights, find_recipe("seed"), RenderOptions{});
///   renderer->render(parse_selection({{"block3_conv1:0-7"}}, network, 0), my_observer, {});
///
/// Every function throws filterscope::Error for what a user can act on.

#include "ascent/recipe.h"          // IWYU pragma: export
#include "base/error.h"             // IWYU pragma: export
#include "devices/devices.h"        // IWYU pragma: export
#include "model/network.h"          // IWYU pragma: export
#include "model/weights/weights.h"  // IWYU pragma: export
#include "run/renderer.h"           // IWYU pragma: export
#include "run/selection.h"          // IWYU pragma: export
#include "version.h"                // IWYU pragma: export
