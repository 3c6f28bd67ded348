// Whole runs of the CUDA engine: its guarantees about batches, memory, the loop and the independence of
// filters. See engine_test.cpp.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "engine_fixtures.h"
#include "host/base/error.h"
#include "tests/support/random_network.h"
#include "tests/support/reference.h"

namespace filterscope {
namespace {

TEST(CudaEngineRun, AFilterDoesNotDependOnItsPlaceInTheBatch) {
  const Network network = small_network();
  const Weights weights = test::random_weights(network, 3);
  const RunOptions options = options_for({12, 9}, Precision::fp16);
  const std::vector<std::vector<FilterId>> selections{{{3, 20}, {3, 30}, {3, 40}, {5, 1}, {5, 2}},
                                                      {{3, 1}, {3, 2}, {3, 20}, {5, 60}, {5, 61}},
                                                      {{3, 19}, {3, 20}, {3, 21}, {5, 0}, {5, 63}}};
  const auto renderer = make_native_renderer(network, weights, short_recipe(3), options);
  std::vector<float> first;
  for (const std::vector<FilterId>& filters : selections) {
    Collector collector;
    renderer->render(filters, collector, {});
    const FilterResult& result = collector.results.at({3, 20});
    if (first.empty()) first = result.image;
    EXPECT_EQ(result.image, first);
  }
  EXPECT_EQ(renderer->describe().plans.size(), 1u);
}

TEST(CudaEngineRun, ReproducibleBytesDoNotDependOnTheSelection) {
  const Network network = small_network();
  const Weights weights = test::random_weights(network, 3);
  RunOptions options = options_for({9, 9}, Precision::fp16);
  options.reproducible = true;
  options.batch = 3;
  const FilterId id{4, 11};
  const Collector alone = render(network, weights, short_recipe(3), options, {id});
  const Collector among = render(network, weights, short_recipe(3), options,
                                 {{2, 3}, {4, 0}, {4, 5}, {4, 7}, id, {4, 12}, {5, 1}});
  EXPECT_EQ(among.results.size(), 7u);
  EXPECT_EQ(alone.results.at(id).image, among.results.at(id).image);
  EXPECT_EQ(alone.results.at(id).picture, among.results.at(id).picture);
  EXPECT_EQ(alone.results.at(id).final_loss, among.results.at(id).final_loss);
}

TEST(CudaEngineRun, BatchesOfOneGeometryGiveWhatOneBatchGives) {
  const Network network = small_network();
  const Weights weights = test::random_weights(network, 3);
  RunOptions options = options_for({9, 9});
  const Collector whole = render(network, weights, short_recipe(3), options, some_filters());
  for (const int batch : {1, 4, 6}) {
    options.batch = batch;
    const Collector cut = render(network, weights, short_recipe(3), options, some_filters());
    ASSERT_EQ(cut.results.size(), some_filters().size()) << batch;
    EXPECT_EQ(cut.progress, 3 * 9);
    for (const auto& [id, result] : whole.results) {
      EXPECT_LT(test::l2_relative_error(cut.results.at(id).image, result.image), 1e-5) << batch;
    }
  }
}

TEST(CudaEngineRun, FramesAreThePicturesOfShorterRuns) {
  const Network network = test::make_network({{64}, {64, true}, {64}});
  const Weights weights = test::random_weights(network, 3);
  const std::vector<FilterId> filters{{1, 0}, {1, 9}, {2, 5}};
  const auto run = [&](int iterations, const RunOptions& options) {
    return render(network, weights, short_recipe(iterations), options, filters);
  };
  for (const int every : {1, 3, 7}) expect_frames_of_shorter_runs(run, options_for({6, 7}), every);
}

TEST(CudaEngineRun, FramesOfOneBatchAfterAnother) {
  const Network network = small_network();
  const Weights weights = test::random_weights(network, 3);
  RunOptions options = options_for({9, 9});
  options.frame_every = 2;
  const std::vector<FilterId> filters = some_filters();
  const Collector whole = render(network, weights, short_recipe(5), options, filters);
  options.batch = 4;
  const Collector cut = render(network, weights, short_recipe(5), options, filters);
  ASSERT_EQ(cut.results.size(), filters.size());
  for (const auto& [id, result] : whole.results) {
    ASSERT_EQ(result.frames.size(), 4u);
    ASSERT_EQ(cut.results.at(id).frames.size(), result.frames.size());
    for (std::size_t frame = 0; frame < result.frames.size(); ++frame)
      for (std::size_t i = 0; i < result.picture.size(); ++i)
        ASSERT_NEAR(result.frames[frame][i], cut.results.at(id).frames[frame][i], 1);
  }
}

TEST(CudaEngineRun, WithoutRescueADeadFilterKeepsItsImageAndDoesNotDisturbOthers) {
  const Network network = test::make_network({{64}, {64, true}, {64}});
  Weights weights = test::random_weights(network, 4);
  for (std::size_t i = 0; i < 9 * 64; ++i) weights.layers[2]->kernel[i * 64 + 5] = -1.f;
  weights.layers[2]->bias[5] = -1.f;
  RunOptions options = options_for({8, 8});
  options.trace_every = 2;
  options.frame_every = 2;
  Recipe recipe = short_recipe(6);
  recipe.stages[0].objective.rescue = false;
  const Collector with = render(network, weights, recipe, options, {{2, 4}, {2, 5}});
  const FilterResult& dead = with.results.at({2, 5});
  EXPECT_EQ(dead.status, FilterStatus::dead);
  EXPECT_EQ(dead.iterations, 0);
  EXPECT_EQ(dead.gradient_norm, 0.f);
  EXPECT_EQ(dead.trace.size(), 3u);
  EXPECT_EQ(dead.frames, (std::vector<std::vector<std::uint8_t>>{dead.picture}));
  EXPECT_EQ(dead.image, reference::noise_image({}, 0, 2, 5, {8, 8}));
  EXPECT_EQ(with.results.at({2, 4}).status, FilterStatus::ok);
  EXPECT_EQ(with.results.at({2, 4}).iterations, 6);
}

TEST(CudaEngineRun, NonFiniteFilterStopsAlone) {
  const Network network = test::make_network({{64}, {64}});
  Weights weights = test::random_weights(network, 4);
  for (std::size_t i = 0; i < 9 * 64; ++i) weights.layers[1]->kernel[i * 64 + 5] = 3e38f;
  RunOptions options = options_for({7, 8});
  options.trace_every = 1;
  const Collector got = render(network, weights, short_recipe(4), options, {{1, 4}, {1, 5}, {1, 7}});
  const FilterResult& stopped = got.results.at({1, 5});
  EXPECT_EQ(stopped.status, FilterStatus::nonfinite);
  EXPECT_EQ(stopped.iterations, 0);
  EXPECT_TRUE(stopped.trace.empty());
  for (const float value : stopped.image) ASSERT_TRUE(std::isfinite(value));
  EXPECT_EQ(got.results.at({1, 4}).iterations, 4);
  EXPECT_EQ(got.results.at({1, 7}).status, FilterStatus::ok);
}

TEST(CudaEngineRun, StartsFromGivenImages) {
  const Network network = small_network();
  const Weights weights = test::random_weights(network, 3);
  RunOptions options = options_for({9, 12});
  options.initial_images = {test::random_values(3 * 9 * 12 * 3, 5), 3, {9, 12}};
  for (const int batch : {0, 1}) {
    options.batch = batch;
    const std::vector<FilterId> filters{{0, 7}, {1, 2}, {3, 1}};
    const Collector got = render(network, weights, short_recipe(2), options, filters);
    for (std::size_t i = 0; i < filters.size(); ++i) {
      const std::span<const float> start(options.initial_images.values.data() + i * 9 * 12 * 3, 9 * 12 * 3);
      const auto expected = reference::ascend(network, weights, short_recipe(2), filters[i].layer,
                                              filters[i].filter, reference::Map({9, 12}, 3, start), 2);
      EXPECT_NEAR(got.results.at(filters[i]).first_loss, expected.losses[0], 1e-5 * expected.losses[0]);
      EXPECT_LT(test::l2_relative_error(got.results.at(filters[i]).image, expected.image.values), 1e-4);
    }
  }
}

#if defined(FILTERSCOPE_EMULATED)

// Several batches, with every kind of result.
TEST(CudaEngineRun, ResultsDoNotDependOnHowLateTheDeviceIs) {
  const Network network = test::make_network({{64}, {64}});
  const Weights weights = test::random_weights(network, 3);
  RunOptions options = options_for({4, 5});
  options.batch = 2;
  options.frame_every = 2;
  options.trace_every = 1;
  // More iterations than the host runs ahead.
  std::vector<FilterId> filters;
  for (int filter = 0; filter < 7; ++filter) filters.push_back({1, filter});
  for (const bool given : {false, true}) {
    if (given) options.initial_images = {test::random_values(7 * 4 * 5 * 3, 5), 7, {4, 5}};
    const Collector expected = render(network, weights, short_recipe(25), options, filters);
    ASSERT_EQ(expected.results.size(), filters.size());
    emulation::set_lateness(emulation::Lateness::late);
    const Collector got = render(network, weights, short_recipe(25), options, filters);
    emulation::set_lateness(emulation::Lateness::none);
    ASSERT_EQ(got.results.size(), filters.size());
    EXPECT_EQ(got.progress, expected.progress);
    for (const auto& [id, result] : expected.results) {
      const FilterResult& late = got.results.at(id);
      EXPECT_EQ(late.picture, result.picture);
      EXPECT_EQ(late.image, result.image);
      EXPECT_EQ(late.frames, result.frames);
      ASSERT_EQ(late.trace.size(), result.trace.size());
      for (std::size_t i = 0; i < late.trace.size(); ++i) EXPECT_EQ(late.trace[i].loss, result.trace[i].loss);
      EXPECT_EQ(late.status, result.status);
      EXPECT_EQ(late.iterations, result.iterations);
      EXPECT_EQ(late.first_loss, result.first_loss);
      EXPECT_EQ(late.final_loss, result.final_loss);
      EXPECT_EQ(late.gradient_norm, result.gradient_norm);
    }
  }
}

TEST(CudaEngineRun, TheLoopNeitherAllocatesNorCopiesNorWaits) {
  const Network network = test::make_network({{64}, {64, true}, {64}});
  const Weights weights = test::random_weights(network, 3);
  RunOptions options = options_for({6, 6});
  const auto count = [&](int iterations) {
    Recipe recipe = short_recipe(iterations);
    recipe.trace_points = iterations;
    const emulation::Counters before = emulation::counters();
    render(network, weights, recipe, options, {{1, 0}, {2, 0}});
    const emulation::Counters after = emulation::counters();
    return std::vector<long>{after.allocations - before.allocations, after.copies - before.copies,
                             after.synchronisations - before.synchronisations};
  };
  EXPECT_EQ(count(3), count(9));
  options.frame_every = 1;
  EXPECT_EQ(count(3), count(9));
}

TEST(CudaEngineRun, ContinuesWithSmallerBatchesWhenMemoryRunsOut) {
  const Network network = test::make_network({{64}, {64, true}, {64}});
  const Weights weights = test::random_weights(network, 3);
  RunOptions options = options_for({10, 10});
  options.batch = 8;
  std::vector<FilterId> filters;
  for (int filter = 0; filter < 8; ++filter) filters.push_back({2, filter});
  const Collector expected = render(network, weights, short_recipe(2), options, filters);
  EXPECT_TRUE(expected.notices.empty());
  // Enough memory for the weights and about three images.
  emulation::set_memory(emulation::counters().allocated_bytes + 700'000);
  const Collector got = render(network, weights, short_recipe(2), options, filters);
  emulation::set_memory(std::size_t{4} << 30);
  ASSERT_EQ(got.results.size(), filters.size());
  EXPECT_THAT(got.notices, testing::Contains(testing::HasSubstr("out of device memory")));
  for (const auto& [id, result] : expected.results) {
    EXPECT_LT(test::l2_relative_error(got.results.at(id).image, result.image), 1e-5);
  }
  // The automatic batch fits without trying.
  options.batch = 0;
  emulation::set_memory(emulation::counters().allocated_bytes + 2'000'000);
  const Collector automatic = render(network, weights, short_recipe(2), options, filters);
  EXPECT_TRUE(automatic.notices.empty());
  EXPECT_EQ(automatic.results.size(), filters.size());
  emulation::set_memory(emulation::counters().allocated_bytes + 1000);
  EXPECT_THAT([&] { render(network, weights, short_recipe(2), options, filters); },
              testing::ThrowsMessage<Error>(testing::HasSubstr("device memory")));
  emulation::set_memory(std::size_t{4} << 30);
}

// Also if a batch has no second iteration, and if more batches follow.
TEST(CudaEngineRun, ContinuesWithSmallerBatchesWithoutMemoryForTheGraphOrPinned) {
  const Network network = test::make_network({{64}, {64}});
  const Weights weights = test::random_weights(network, 3);
  RunOptions options = options_for({6, 6});
  options.batch = 4;
  const std::vector<FilterId> filters{{1, 0}, {1, 1}, {1, 2}, {1, 3}, {1, 4}, {1, 5}, {1, 6}, {1, 7}};
  for (const int iterations : {1, 3}) {
    const Collector expected = render(network, weights, short_recipe(iterations), options, filters);
    for (const bool pinned : {false, true}) {
      if (pinned) {
        emulation::refuse_pinned(1);
      } else {
        emulation::refuse_next_graph();
      }
      Collector got;
      const auto renderer = make_native_renderer(network, weights, short_recipe(iterations), options);
      renderer->render(filters, got, {});
      EXPECT_THAT(got.notices, testing::ElementsAre(testing::HasSubstr(
                                   pinned ? "out of pinned memory; continuing with at most 2 filters"
                                          : "out of device memory; continuing with at most 2 filters")));
      EXPECT_EQ(got.progress, expected.progress);
      EXPECT_EQ(renderer->describe().plans.size(), 1u);  // The plan of the batches that were ascended.
      ASSERT_EQ(got.results.size(), filters.size());
      for (const auto& [id, result] : expected.results) {
        EXPECT_LT(test::l2_relative_error(got.results.at(id).image, result.image), 1e-5);
      }
    }
  }
  emulation::refuse_pinned(100);
  EXPECT_THAT([&] { render(network, weights, short_recipe(2), options, filters); },
              testing::ThrowsMessage<Error>(testing::HasSubstr("out of pinned memory for 1 image of 6 x 6")));
  emulation::refuse_pinned(0);
}

// Takes one result, then has no room for more, and the device breaks.
class BreaksTheDevice final : public RenderObserver {
 public:
  void on_finished(FilterResult result) override {
    finished.push_back(result.id);
    emulation::set_broken(true);
  }
  bool has_room(std::size_t) override { return finished.empty(); }
  void on_progress(std::int64_t) override {}
  void on_loss(FilterId, TracePoint) override {}

  std::vector<FilterId> finished;
};

TEST(CudaEngineRun, DeliversWhatHasArrivedWhenTheDeviceIsLost) {
  const Network network = test::make_network({{64}, {64}});
  const Weights weights = test::random_weights(network, 3);
  RunOptions options = options_for({5, 5});
  options.batch = 2;
  const std::vector<FilterId> filters{{1, 0}, {1, 1}, {1, 2}, {1, 3}, {1, 4}, {1, 5}};
  BreaksTheDevice observer;
  const auto renderer = make_native_renderer(network, weights, short_recipe(3), options);
  try {
    renderer->render(filters, observer, {});
    ADD_FAILURE() << "the device is lost";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::device);
    EXPECT_THAT(error.what(), testing::AllOf(testing::HasSubstr("cuda:0 ("), testing::HasSubstr("llegal"),
                                             testing::HasSubstr("had arrived are delivered")));
  }
  emulation::set_broken(false);
  EXPECT_THAT(observer.finished, testing::ElementsAre(FilterId{1, 0}, FilterId{1, 1}));
}

TEST(CudaEngineRun, EveryOperationHasItsRangeInAProfile) {
  const Network network = test::make_network({{64}, {64, true}, {64}});
  const Weights weights = test::random_weights(network, 3);
  RunOptions options = options_for({6, 6});
  options.profile_first = 3;
  options.profile_count = 1;
  emulation::take_ranges();
  render(network, weights, short_recipe(3), options, {{0, 1}, {1, 2}, {2, 3}});
  std::set<std::string> expected;
  const std::string iteration = "batch/iteration/";
  for (const Convolution& layer : network.convolutions) {
    const std::string forward = iteration + "forward/" + layer.name + '/' + layer.name;
    const std::string backward = iteration + "backward/" + layer.name + '/' + layer.name;
    expected.insert({forward + " filter head", backward + " filter head gradient"});
    if (layer.name == network.convolutions.back().name) continue;
    expected.insert({forward + " fprop", backward + " dgrad"});
  }
  expected.insert({iteration + "step/loss trace", iteration + "step/normalise and step"});
  const std::set<std::string> found = emulation::take_ranges();
  EXPECT_TRUE(std::ranges::includes(found, expected)) << testing::PrintToString(found);
}

#endif

TEST(CudaEngineRun, StopsBetweenIterationsAndKeepsWhatIsFinished) {
  const Network network = test::make_network({{64}, {64}});
  const Weights weights = test::random_weights(network, 3);
  RunOptions options = options_for({5, 5});
  options.batch = 2;
  Collector collector;
#if defined(FILTERSCOPE_EMULATED)
  constexpr int kIterations = 6;
#else
  constexpr int kIterations = 400;  // More than are enqueued ahead.
#endif
  collector.stop_after = 2 * kIterations + 2 * kIterations / 2;
  make_native_renderer(network, weights, short_recipe(kIterations), options)
      ->render(std::vector<FilterId>{{1, 0}, {1, 1}, {1, 2}, {1, 3}, {1, 4}, {1, 5}}, collector,
               collector.stop.get_token());
  EXPECT_EQ(collector.results.size(), 2u);
}

TEST(CudaEngineRun, ProfilingDoesNotChangeResults) {
  const Network network = test::make_network({{64}, {64}});
  const Weights weights = test::random_weights(network, 3);
  RunOptions options = options_for({5, 5});
  const Collector plain = render(network, weights, short_recipe(5), options, {{1, 0}});
  options.profile_first = 2;
  options.profile_count = 2;
  const Collector profiled = render(network, weights, short_recipe(5), options, {{1, 0}});
  EXPECT_EQ(plain.results.at({1, 0}).image, profiled.results.at({1, 0}).image);
}

}  // namespace
}  // namespace filterscope
