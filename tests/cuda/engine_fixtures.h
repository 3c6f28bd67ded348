#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <stop_token>
#include <string>
#include <utility>
#include <vector>

#include "host/cuda/own_convolution.h"
#include "host/engine.h"
#include "host/engine_cuda.h"
#include "host/network.h"
#include "host/recipe.h"
#include "tests/support/random_network.h"

namespace filterscope {

class Collector final : public RenderObserver {
 public:
  void on_finished(FilterResult result) override { results.emplace(result.id, std::move(result)); }
  void on_progress(std::int64_t steps) override {
    progress += steps;
    if (stop_after > 0 && progress >= stop_after) stop.request_stop();
  }
  void on_loss(FilterId, TracePoint) override { ++losses; }
  void on_notice(const std::string& text) override { notices.push_back(text); }

  std::map<FilterId, FilterResult> results;
  std::int64_t progress = 0;
  std::int64_t stop_after = 0;
  int losses = 0;
  std::vector<std::string> notices;
  std::stop_source stop;
};

// Pools after the second and fourth layer; channels as few as the kernels take.
inline Network small_network() {
  return test::make_network({{64}, {64, true}, {64}, {128, true}, {64}, {64}});
}

inline std::vector<FilterId> some_filters() {
  return {{0, 1}, {0, 50}, {1, 4}, {2, 0}, {2, 63}, {3, 100}, {4, 10}, {4, 11}, {5, 3}};
}

inline Recipe short_recipe(int iterations) {
  Recipe recipe = find_recipe("seed");
  recipe.iterations = iterations;
  return recipe;
}

inline RenderOptions options_for(Extent extent, Precision precision = Precision::fp32) {
  RenderOptions options;
  options.extent = extent;
  options.precision = precision;
  options.keep_images = true;
  options.reproducible = false;
  return options;
}

// With the project's own kernels alone; they are taken as offered, since timing says nothing in the
// emulation.
inline std::unique_ptr<Engine> make_own_engine(const Network& network, const Weights& weights,
                                               const Recipe& recipe, const RenderOptions& options,
                                               const cuda::ConvolutionSource& source = cuda::own_variants) {
  return make_cuda_engine(
      network, weights, recipe, options,
      {.sources = {source}, .rule = cuda::PlanRule::fixed, .timings = {}, .libraries = {}});
}

inline Collector render(const Network& network, const Weights& weights, const Recipe& recipe,
                        const RenderOptions& options, const std::vector<FilterId>& filters,
                        const cuda::ConvolutionSource& source = cuda::own_variants) {
  Collector collector;
  make_own_engine(network, weights, recipe, options, source)->render(filters, collector, {});
  return collector;
}

}  // namespace filterscope
