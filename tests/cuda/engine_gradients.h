#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "engine_fixtures.h"
#include "tests/support/gradient_fidelity.h"
#include "tests/support/random_network.h"
#include "tests/support/reference.h"

namespace filterscope {

/// Errors of the gradients of random images, one for each of `filters`.
inline std::vector<fidelity::GradientErrors> errors_of_gradients(
    const Network& network, const Weights& weights, const RunOptions& options,
    const std::vector<FilterId>& filters, const cuda::ConvolutionSource& source = cuda::native_variants) {
  const std::size_t size = options.extent.positions() * 3;
  const std::vector<float> images = test::random_values(filters.size() * size, 8);
  const auto found =
      make_native_renderer(network, weights, short_recipe(1), options, source)->gradients(filters, images);
  EXPECT_EQ(found.size(), filters.size());
  std::vector<fidelity::GradientErrors> errors;
  for (std::size_t i = 0; i < found.size(); ++i) {
    EXPECT_EQ(found[i].id, filters[i]);
    const reference::Gradient expected = reference::loss_and_gradient(
        network, weights, identity_mapping(), filters[i].layer, filters[i].filter,
        reference::Map(options.extent, 3, std::span(images).subspan(i * size, size)));
    errors.push_back(
        fidelity::gradient_errors(found[i], expected, network, weights, identity_mapping(), options.extent));
  }
  return errors;
}

}  // namespace filterscope
