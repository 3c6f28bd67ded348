#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "host/ascent/recipe.h"
#include "host/cpu/engine.h"
#include "host/cuda/engine.h"
#include "host/cuda/native_convolution.h"
#include "host/model/network.h"
#include "host/run/renderer.h"
#include "tests/support/random_network.h"
#include "tests/support/runs.h"

namespace filterscope {

// Pools after the second and fourth layer; as few channels as the kernels support.
inline Network small_network() {
  return test::make_network({{64}, {64, true}, {64}, {128, true}, {64}, {64}});
}

inline std::vector<FilterId> some_filters() {
  return {{0, 1}, {0, 50}, {1, 4}, {2, 0}, {2, 63}, {3, 100}, {4, 10}, {4, 11}, {5, 3}};
}

inline RunOptions options_for(Extent extent, Precision precision = Precision::fp32) {
  RunOptions options;
  options.extent = extent;
  options.precision = precision;
  options.keep_images = true;
  options.reproducible = false;
  return options;
}

inline std::unique_ptr<Renderer> make_cuda_renderer(const Network& network, const Weights& weights,
                                                    const Recipe& recipe, const RunOptions& options,
                                                    CudaBackend backend) {
  const Recipe own = sized(recipe, options.extent);
  return std::make_unique<Renderer>(network, weights, own, options,
                                    make_cuda_engine(network, weights, own, options, std::move(backend)));
}

// With the project's kernels only, in the order they are offered, since timing is meaningless in the
// emulation.
inline std::unique_ptr<Renderer> make_native_renderer(
    const Network& network, const Weights& weights, const Recipe& recipe, const RunOptions& options,
    const cuda::ConvolutionSource& source = cuda::native_variants) {
  return make_cuda_renderer(
      network, weights, recipe, options,
      {.sources = {source}, .rule = cuda::PlanRule::fixed, .timings = {}, .libraries = {}});
}

inline std::unique_ptr<Renderer> make_cpu_renderer(const Network& network, const Weights& weights,
                                                   const Recipe& recipe, const RunOptions& options) {
  const Recipe own = sized(recipe, options.extent);
  return std::make_unique<Renderer>(network, weights, own, options,
                                    make_cpu_engine(network, weights, own, options));
}

inline Collector render(const Network& network, const Weights& weights, const Recipe& recipe,
                        const RunOptions& options, const std::vector<FilterId>& filters,
                        const cuda::ConvolutionSource& source = cuda::native_variants) {
  Collector collector;
  make_native_renderer(network, weights, recipe, options, source)->render(filters, collector, {});
  return collector;
}

}  // namespace filterscope
