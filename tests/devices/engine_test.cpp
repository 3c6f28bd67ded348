// Compares an engine, from selection to pictures, with the reference's ascent, and checks what it guarantees
// about neighbours, plans, dead and non-finite filters.

#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <string>
#include <vector>

#include "host/base/error.h"
#include "host/devices/devices.h"
#include "tests/support/random_network.h"
#include "tests/support/reference.h"
#include "tests/support/rescue.h"
#include "tests/support/runs.h"

namespace filterscope {
namespace {

RunOptions small_options(Extent extent) {
  RunOptions options;
  options.extent = extent;
  options.device = "cpu";
  options.keep_images = true;
  return options;
}

std::unique_ptr<Renderer> make_renderer(const Network& network, const Weights& weights, const Recipe& recipe,
                                        const RunOptions& options) {
  return filterscope::make_renderer(network, weights, sized(recipe, options.extent),
                                    static_cast<const RenderOptions&>(options));
}

Collector render(const Network& network, const Weights& weights, const Recipe& recipe,
                 const RunOptions& options, const std::vector<FilterId>& filters) {
  Collector collector;
  make_renderer(network, weights, recipe, options)->render(filters, collector, {});
  return collector;
}

template <class Call>
void expect_usage_error(const Call& call, const std::string& message) {
  try {
    call();
    ADD_FAILURE() << "no Error: " << message;
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::usage);
    EXPECT_EQ(std::string(error.what()), message);
  }
}

TEST(Engine, RefusesFiltersThatTheNetworkHasNot) {
  const Network network = test::small_network();
  const Weights weights = test::random_weights(network, 3);
  const auto renderer = make_renderer(network, weights, short_recipe(1), small_options({16, 16}));
  const auto refused = [&](const std::vector<FilterId>& filters, const std::string& message) {
    Collector collector;
    expect_usage_error([&] { renderer->render(filters, collector, {}); }, message);
    expect_usage_error([&] { renderer->estimate(filters, 1, {}); }, message);
    const std::vector<float> images(filters.size() * 16 * 16 * 3);
    expect_usage_error([&] { renderer->gradients(filters, images); }, message);
  };
  const int filters = network.convolutions[0].out_channels;
  const std::string name = network.convolutions[0].name;
  const int layers = static_cast<int>(network.convolutions.size());
  const std::string range = ": expected 0 to " + std::to_string(filters - 1);
  refused({{0, filters}}, "filter " + std::to_string(filters) + " of " + name + range);
  refused({{0, -1}}, "filter -1 of " + name + range);
  refused({{layers, 0}},
          "layer number " + std::to_string(layers) + ": expected 0 to " + std::to_string(layers - 1));
  refused({{-1, 0}}, "layer number -1: expected 0 to " + std::to_string(layers - 1));
  refused({{0, 1}, {0, 1}},
          "filters: expected ascending order, each once; found 1 of " + name + " followed by 1 of " + name);
}

TEST(Engine, RefusesImagesThatAreNotOneForEach) {
  const Network network = test::small_network();
  const Weights weights = test::random_weights(network, 3);
  RunOptions options = small_options({16, 16});
  options.initial_images = {std::vector<float>(2 * 16 * 16 * 3), 2, {16, 16}};
  const auto renderer = make_renderer(network, weights, short_recipe(1), options);
  Collector collector;
  expect_usage_error(
      [&] {
        renderer->render(std::vector<FilterId>{{0, 0}, {0, 1}, {0, 2}}, collector, {});
      },
      "InitialImages::count: expected 1 or one for each of 3 filters, found 2");
  expect_usage_error(
      [&] {
        renderer->gradients(std::vector<FilterId>{{0, 0}}, {});
      },
      "images: expected 768 values for 1 filter, found 0");
  renderer->render(std::vector<FilterId>{{0, 0}, {0, 1}}, collector, {});
  EXPECT_EQ(collector.results.size(), 2u);
}

TEST(Engine, RefusesSettingsThatNobodyCanDo) {
  const Network network = test::small_network();
  const Weights weights = test::random_weights(network, 3);
  const auto refused = [&](const auto& change, const std::string& message) {
    Recipe recipe = short_recipe(1);
    RunOptions options = small_options({16, 16});
    change(recipe, options);
    // Refused before the device is checked, which this build or machine may lack.
    for (const char* device : {"cpu", "cuda", "auto"}) {
      options.device = device;
      expect_usage_error([&] { make_renderer(network, weights, recipe, options); }, message);
    }
  };
  refused([](Recipe& recipe, RunOptions&) { recipe.stages[0].iterations = 0; },
          "recipe seed: stages.0.iterations: expected a whole number from 1 to 1000000000, found 0");
  refused([](Recipe& recipe, RunOptions&) { recipe.stages[0].optimiser.step = 0; },
          "recipe seed: stages.0.optimiser.step: expected a number above 0, found 0");
  const auto start_images = [](int count, Extent extent, std::size_t values) {
    return [=](Recipe&, RunOptions& options) {
      options.initial_images = {std::vector<float>(values), count, extent};
    };
  };
  refused(start_images(-1, {16, 16}, 0), "InitialImages::count: expected at least 0, found -1");
  refused(start_images(1, {16, 16}, 0), "InitialImages::values: expected 768 for 1 image, found 0");
  refused(start_images(2, {16, 16}, 769), "InitialImages::values: expected 1536 for 2 images, found 769");
  refused(start_images(1, {8, 16}, 384),
          "InitialImages::extent: expected that of the recipe's first stage, 16 x 16, found 16 x 8 (width x "
          "height)");
  refused([](Recipe&, RunOptions& options) { options.trace_every = -1; },
          "RenderOptions::trace_every: expected at least 0, found -1");
  refused([](Recipe&, RunOptions& options) { options.frame_every = -1; },
          "RenderOptions::frame_every: expected at least 0, found -1");
  refused([](Recipe&, RunOptions& options) { options.batch = -1; },
          "RenderOptions::batch: expected at least 0, found -1");
  refused([](Recipe&, RunOptions& options) { options.threads = -1; },
          "RenderOptions::threads: expected at least 0, found -1");
}

TEST(Engine, AscentIsTheReferences) {
  const Network network = test::small_network();
  const Weights weights = test::random_weights(network, 3);
  const Extent extent{13, 13};
  const Recipe recipe = short_recipe(30);
  RunOptions options = small_options(extent);
  options.seed = 9;
  options.trace_every = 7;
  const std::vector<FilterId> filters{{0, 1}, {1, 4}, {2, 0}, {2, 5}, {4, 10}, {5, 3}};
  const Collector got = render(network, weights, recipe, options, filters);
  ASSERT_EQ(got.results.size(), filters.size());
  EXPECT_EQ(got.progress, 30 * 6);
  for (const auto& [id, result] : got.results) {
    SCOPED_TRACE(network.convolutions[id.layer].name + ":" + std::to_string(id.filter));
    const std::vector<float> start =
        reference::noise_image(recipe.first().start, options.seed, id.layer, id.filter, extent);
    const reference::Ascent expected = reference::ascend(
        network, weights, recipe, id.layer, id.filter, reference::Map(extent, 3, start), recipe.iterations());
    EXPECT_EQ(result.status, FilterStatus::ok);
    EXPECT_EQ(result.iterations, 30);
    EXPECT_NEAR(result.first_loss, expected.losses.front(), 1e-4 * expected.losses.front());
    EXPECT_NEAR(result.final_loss, expected.final_loss, 1e-3 * expected.final_loss);
    EXPECT_NEAR(result.gradient_norm, expected.gradient_norm, 1e-2 * expected.gradient_norm);
    ASSERT_EQ(result.trace.size(), 4u);
    for (std::size_t i = 0; i < 4; ++i) {
      EXPECT_EQ(result.trace[i].iteration, 7 * static_cast<int>(i + 1));
      const double loss = expected.losses[result.trace[i].iteration - 1];
      EXPECT_NEAR(result.trace[i].loss, loss, 1e-3 * loss);
    }
    // The image may differ where a ReLU was nearly tied, but by no more than a hundredth of its change.
    EXPECT_LT(test::l2_relative_error(result.image, expected.image.values), 3e-3);
    const auto picture = reference::min_max_picture(std::span<const float>(result.image));
    ASSERT_EQ(result.picture.size(), picture.size());
    for (std::size_t i = 0; i < picture.size(); ++i) ASSERT_NEAR(result.picture[i], picture[i], 1);
  }
}

TEST(Engine, AFilterDoesNotDependOnItsPlaceInTheBatch) {
  const Weights weights = synthetic_weights(vgg16(), 2);
  const int layer = 5;
  // The same plan (one layer, eight images) with the filter under test first, in the middle and last.
  const std::vector<std::vector<int>> batches{
      {20, 21, 22, 23, 24, 25, 26, 27}, {1, 2, 3, 20, 40, 50, 60, 70}, {3, 4, 5, 6, 7, 8, 9, 20}};
  const auto renderer = make_renderer(vgg16(), weights, short_recipe(6), small_options({40, 40}));
  std::vector<float> first;
  for (const std::vector<int>& batch : batches) {
    std::vector<FilterId> filters;
    for (const int filter : batch) filters.push_back({layer, filter});
    Collector collector;
    renderer->render(filters, collector, {});
    const FilterResult& result = collector.results.at({layer, 20});
    if (first.empty()) first = result.image;
    EXPECT_EQ(result.image, first);
  }
  EXPECT_EQ(renderer->describe().plans.size(), 1u);
}

TEST(Engine, ReproducibleBytesWhateverIsRenderedBeside) {
  const Weights weights = synthetic_weights(vgg16(), 2);
  std::map<std::string, FilterResult> seen;
  const FilterId id{7, 11};
  for (const int batch : {0, 1, 5, 16}) {
    for (const bool alone : {true, false}) {
      RunOptions options = small_options({33, 47});
      options.reproducible = true;
      options.batch = batch;
      std::vector<FilterId> filters{id};
      if (!alone) filters = {{2, 3}, {7, 0}, {7, 5}, id, {7, 12}, {7, 13}, {7, 99}, {8, 1}};
      Collector collector = render(vgg16(), weights, short_recipe(5), options, filters);
      FilterResult& result = collector.results.at(id);
      const auto [first, is_new] = seen.try_emplace("", result);
      EXPECT_EQ(result.image, first->second.image) << batch << alone;
      EXPECT_EQ(result.picture, first->second.picture);
      EXPECT_EQ(result.final_loss, first->second.final_loss);
    }
  }
}

TEST(Engine, PlansAgreeWithinRounding) {
  const Weights weights = synthetic_weights(vgg16(), 2);
  const std::vector<FilterId> filters{{3, 0}, {3, 1}, {3, 2}, {3, 3}, {3, 4}};
  RunOptions options = small_options({64, 64});
  const Collector timed = render(vgg16(), weights, short_recipe(10), options, filters);
  options.reproducible = true;
  const Collector fixed = render(vgg16(), weights, short_recipe(10), options, filters);
  for (const FilterId id : filters) {
    const float loss = fixed.results.at(id).final_loss;
    EXPECT_NEAR(timed.results.at(id).final_loss, loss, 1e-3 * loss);
  }
}

TEST(Engine, FramesAreThePicturesOfShorterRuns) {
  const Network network = test::small_network();
  const Weights weights = test::random_weights(network, 3);
  const std::vector<FilterId> filters{{0, 1}, {0, 3}, {2, 5}};
  const auto run = [&](int iterations, const RunOptions& options) {
    return render(network, weights, short_recipe(iterations), options, filters);
  };
  for (const int every : {1, 2, 3, 7, 8}) expect_frames_of_shorter_runs(run, small_options({16, 17}), every);
}

TEST(Engine, RescuesWhatHasNoGradient) {
  const test::RescueCases cases;
  const auto run = [&](const Recipe& recipe, const RunOptions& options,
                       const std::vector<FilterId>& filters) {
    return render(cases.network(), cases.weights(), recipe, options, filters);
  };
  RunOptions options = small_options(cases.extent());
  test::expect_rescue(run, options, {1e-3, 3e-3});
  options.reproducible = true;
  test::expect_rescue(run, options, {1e-3, 3e-3});
}

TEST(Engine, WithoutRescueADeadFilterKeepsItsImageAndDoesNotDisturbOthers) {
  const Network network = test::make_network({{16}, {32, true}, {16}});
  Weights weights = test::random_weights(network, 4);
  for (std::size_t i = 0; i < 9 * 32; ++i) weights.layers[2]->kernel[i * 16 + 5] = -1.f;
  weights.layers[2]->bias[5] = -1.f;
  RunOptions options = small_options({18, 18});
  options.trace_every = 2;
  options.frame_every = 2;
  Recipe recipe = short_recipe(8);
  recipe.stages[0].objective.rescue = false;
  const Collector with = render(network, weights, recipe, options, {{2, 4}, {2, 5}});
  const FilterResult& dead = with.results.at({2, 5});
  EXPECT_EQ(dead.status, FilterStatus::dead);
  EXPECT_EQ(dead.iterations, 0);
  EXPECT_EQ(dead.gradient_norm, 0.f);
  EXPECT_EQ(dead.trace.size(), 4u);
  EXPECT_EQ(dead.frames, (std::vector<std::vector<std::uint8_t>>{dead.picture}));
  EXPECT_EQ(dead.image, reference::noise_image({}, 0, 2, 5, {18, 18}));
  EXPECT_EQ(with.results.at({2, 4}).status, FilterStatus::ok);
  EXPECT_EQ(with.progress, 16);
  const Collector alone = render(network, weights, recipe, options, {{2, 5}});
  EXPECT_EQ(alone.progress, 8);
}

TEST(Engine, NonFiniteFilterStopsAlone) {
  const Network network = test::make_network({{16}, {16}});
  Weights weights = test::random_weights(network, 4);
  for (std::size_t i = 0; i < 9 * 16; ++i) weights.layers[1]->kernel[i * 16 + 5] = 3e38f;
  RunOptions options = small_options({12, 12});
  options.frame_every = 3;
  const Collector got = render(network, weights, short_recipe(8), options, {{1, 4}, {1, 5}, {1, 6}});
  const FilterResult& stopped = got.results.at({1, 5});
  EXPECT_EQ(stopped.status, FilterStatus::nonfinite);
  EXPECT_EQ(stopped.iterations, 0);
  EXPECT_EQ(stopped.frames, (std::vector<std::vector<std::uint8_t>>{stopped.picture}));
  for (const float value : stopped.image) ASSERT_TRUE(std::isfinite(value));
  EXPECT_EQ(got.results.at({1, 4}).iterations, 8);
  EXPECT_EQ(got.results.at({1, 4}).frames.size(), 4u);
  EXPECT_EQ(got.results.at({1, 6}).status, FilterStatus::ok);
}

TEST(Engine, StopsBetweenIterationsAndKeepsWhatIsFinished) {
  const Network network = test::small_network();
  const Weights weights = test::random_weights(network, 3);
  RunOptions options = small_options({16, 16});
  options.batch = 2;
  Collector collector;
  collector.stop_after = 2 * 10 + 2 * 3;
  const auto renderer = make_renderer(network, weights, short_recipe(10), options);
  const std::vector<FilterId> filters{{1, 0}, {1, 1}, {1, 2}, {1, 3}};
  renderer->render(filters, collector, collector.stop.get_token());
  EXPECT_EQ(collector.results.size(), 2u);
  EXPECT_TRUE(collector.results.contains({1, 1}));
}

TEST(Engine, StartsFromGivenImages) {
  const Network network = test::small_network();
  const Weights weights = test::random_weights(network, 3);
  RunOptions options = small_options({9, 12});
  options.initial_images = {test::random_values(2 * 9 * 12 * 3, 5), 2, {9, 12}};
  options.batch = 1;
  const Collector two = render(network, weights, short_recipe(4), options, {{1, 2}, {3, 1}});
  for (int i = 0; i < 2; ++i) {
    const FilterId id = i == 0 ? FilterId{1, 2} : FilterId{3, 1};
    const std::span<const float> start(options.initial_images.values.data() + i * 9 * 12 * 3, 9 * 12 * 3);
    const auto expected = reference::ascend(network, weights, short_recipe(4), id.layer, id.filter,
                                            reference::Map({9, 12}, 3, start), 4);
    EXPECT_NEAR(two.results.at(id).first_loss, expected.losses[0], 1e-4 * expected.losses[0]);
    EXPECT_LT(test::l2_relative_error(two.results.at(id).image, expected.image.values), 3e-3);
  }
}

TEST(Engine, EstimatesWhereThatIsASmallPartOfTheRun) {
  const Network network = test::small_network();
  const Weights weights = test::random_weights(network, 3);
  const std::vector<FilterId> filters{{1, 0}, {1, 1}, {2, 0}};
  const auto renderer = make_renderer(network, weights, short_recipe(100), small_options({32, 32}));
  EXPECT_GT(renderer->estimate(filters, 0.03, {}), 0);
  // One iteration to warm up and two timed ones are more than 3 % of 99.
  const auto shorter = make_renderer(network, weights, short_recipe(99), small_options({32, 32}));
  EXPECT_EQ(shorter->estimate(filters, 0.03, {}), std::nullopt);
}

TEST(Engine, EstimateEndsWhereItIsToStop) {
  const Network network = test::small_network();
  const Weights weights = test::random_weights(network, 3);
  const auto renderer = make_renderer(network, weights, short_recipe(100), small_options({32, 32}));
  std::stop_source source;
  source.request_stop();
  EXPECT_EQ(renderer->estimate(std::vector<FilterId>{{1, 0}}, 1, source.get_token()), std::nullopt);
}

TEST(Engine, TellsWhereItsTimeWent) {
  const Weights weights = synthetic_weights(vgg16());
  const auto renderer = make_renderer(vgg16(), weights, short_recipe(3), small_options({32, 32}));
  EXPECT_EQ(renderer->phases().plans, 0);
  EXPECT_EQ(renderer->phases().ascent, 0);
  const std::vector<FilterId> filters{{1, 0}, {2, 0}};
  Collector collector;
  double all = 0;
  timed(all, [&] { renderer->render(filters, collector, {}); });
  const PhaseSeconds phases = renderer->phases();
  EXPECT_GT(phases.plans, 0);
  EXPECT_GT(phases.ascent, 0);
  EXPECT_LE(phases.plans + phases.ascent, all);
  EXPECT_EQ(phases.start_up + phases.finish + phases.encode + phases.write, 0);
  EXPECT_TRUE(renderer->estimate(filters, 10, {}));
  EXPECT_GT(renderer->phases().plans, phases.plans);
  EXPECT_EQ(renderer->phases().ascent, phases.ascent);
}

TEST(Engine, RefusesWhatItCannotDoByName) {
  const Network network = test::small_network();
  Weights weights = test::random_weights(network, 3);
  const auto kind_of = [&](const RunOptions& options, int layer, const std::string& part) {
    try {
      render(network, weights, short_recipe(1), options, {{layer, 0}});
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find(part), std::string::npos) << error.what();
      return error.exit_code();
    }
    return 0;
  };
  RunOptions options = small_options({16, 16});
  weights.layers[2].reset();
  EXPECT_EQ(kind_of(options, 4, "layer3"), 3);
  EXPECT_EQ(kind_of(options, 1, ""), 0);
  options.precision = Precision::bf16;
  EXPECT_EQ(kind_of(options, 0, "bf16"), 4);
  options.precision = Precision::fp32;
  options.device = "cuda:3";
  EXPECT_EQ(kind_of(options, 0, "cuda:3"), 4);
  options.device = "tpu";
  EXPECT_EQ(kind_of(options, 0, "tpu"), 2);
  options.device = "cpu";
  options.extent = {3, 16};
  EXPECT_EQ(kind_of(options, 0, "stages.0.size"), 2);
}

}  // namespace
}  // namespace filterscope
