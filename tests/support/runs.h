#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <map>
#include <span>
#include <stop_token>
#include <string>
#include <utility>
#include <vector>

#include "host/ascent/recipe.h"
#include "host/run/observer.h"
#include "host/run/render_options.h"
#include "tests/support/reference.h"

namespace filterscope {

/// Keeps everything that an engine reports, and stops it after `stop_after` steps unless that is 0.
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

inline Recipe short_recipe(int iterations) {
  Recipe recipe = find_recipe("seed");
  recipe.stages[0].iterations = iterations;
  return recipe;
}

inline Recipe sized(Recipe recipe, Extent extent) {
  for (Stage& stage : recipe.stages) stage.extent = extent;
  return recipe;
}

/// The options of a run, and the extent of its images.
struct RunOptions : RenderOptions {
  Extent extent{96, 96};
};

/// Expects every frame to be the picture that as many iterations would have given. `run(iterations, options)`
/// returns the results of a run.
template <class Run>
void expect_frames_of_shorter_runs(const Run& run, RunOptions options, int every) {
  constexpr int kIterations = 7;
  SCOPED_TRACE(every);
  options.frame_every = every;
  const Collector got = run(kIterations, options);
  ASSERT_FALSE(got.results.empty());
  for (const auto& [id, result] : got.results) {
    EXPECT_EQ(result.frame_every, every);
    ASSERT_EQ(std::ssize(result.frames), frame_count(kIterations, every));
    EXPECT_EQ(result.frames.back(), result.picture);
    const auto start = reference::min_max_picture(std::span<const float>(
        reference::noise_image({}, options.seed, id.layer, id.filter, options.extent)));
    for (std::size_t i = 0; i < start.size(); ++i) ASSERT_NEAR(result.frames.front()[i], start[i], 1);
  }
  options.frame_every = 0;
  for (int steps = every; steps < kIterations; steps += every) {
    const Collector shorter = run(steps, options);
    ASSERT_EQ(shorter.results.size(), got.results.size());
    for (const auto& [id, result] : shorter.results) {
      EXPECT_TRUE(result.frames.empty());
      EXPECT_EQ(got.results.at(id).frames[steps / every], result.picture) << steps;
    }
  }
}

}  // namespace filterscope
