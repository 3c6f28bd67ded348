#include "host/run/renderer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "host/base/error.h"
#include "host/base/out_of_memory.h"
#include "host/run/engine.h"
#include "tests/support/random_network.h"
#include "tests/support/runs.h"

namespace filterscope {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

// Has memory for batches of a certain number of images, and finishes each filter at once with its index.
class FakeEngine final : public Engine {
 public:
  explicit FakeEngine(BatchLimits limits) : limits_(std::move(limits)) {}

  EngineDescription describe() const override {
    return {.device = "fake", .device_name = {}, .libraries = {}, .plans = {}};
  }
  PhaseSeconds phases() const override { return {}; }
  BatchLimits batch_limits() override { return limits_; }
  std::size_t batch_bytes(const BatchLayout&) override { return 0; }
  std::string memory_advice() const override { return "buy some"; }

  void ascend(const BatchGroup& group, RenderObserver& observer, const std::stop_token& stop) override {
    if (group.layout.images() > fitting) throw OutOfMemory("out of fake memory");
    groups.push_back(group);
    for (const Batch& batch : group.batches) {
      if (stop.stop_requested()) return;
      if (--batches_with_memory < 0 && group.layout.images() > 1)
        throw OutOfMemory("out of fake memory", 3'500'000);
      for (std::size_t i = 0; i < batch.filters.size(); ++i) {
        if (batch.indices[i] == Batch::kPadding) continue;
        FilterResult result;
        result.id = batch.filters[i];
        result.iterations = static_cast<int>(batch.indices[i]);
        const auto needed = range_needed.find(result.id);
        if (needed != range_needed.end() && needed->second > range) result.status = FilterStatus::nonfinite;
        observer.on_finished(std::move(result));
      }
      observer.on_progress(batch.filter_count());
    }
  }

  std::optional<double> seconds_per_image(const BatchGroup& group, std::size_t /*stage*/,
                                          const std::stop_token& stop) override {
    if (group.layout.images() > fitting) throw OutOfMemory("out of fake memory");
    if (stop.stop_requested()) return std::nullopt;
    return 1 + group.layout.deepest_layer();
  }
  double timed_iterations(const BatchGroup& group, std::size_t /*stage*/) const override {
    return 2. * group.layout.images();
  }

  void find_gradients(const BatchGroup& group, std::span<const float> images,
                      std::span<FilterGradient> results) override {
    const std::size_t size = images.size() / results.size();
    for (const Batch& batch : group.batches) {
      for (std::size_t i = 0; i < batch.filters.size(); ++i) {
        if (batch.indices[i] != Batch::kPadding)
          results[batch.indices[i]] = {
              .id = batch.filters[i], .loss = images[size * batch.indices[i]], .gradient = {}, .masks = {}};
      }
    }
  }

  bool extend_range() override {
    if (range == largest_range) return false;
    ++range;
    return true;
  }

  int range = 0;
  int largest_range = 2;
  std::map<FilterId, int> range_needed;  // Below it, the filter's result is not finite.
  int fitting = 1000;
  int batches_with_memory = 1000;
  std::vector<BatchGroup> groups;

 private:
  BatchLimits limits_;
};

class RendererTest : public testing::Test {
 protected:
  Renderer make(BatchForm form, int images) {
    auto engine = std::make_unique<FakeEngine>(BatchLimits{form, images, "most", {}});
    engine_ = engine.get();
    return {network_, weights_, sized(short_recipe(10), options_.extent), options_, std::move(engine)};
  }

  static void expect_each_at_its_index(const std::vector<FilterId>& filters, const Collector& got) {
    ASSERT_EQ(got.results.size(), filters.size());
    for (std::size_t i = 0; i < filters.size(); ++i)
      EXPECT_EQ(got.results.at(filters[i]).iterations, static_cast<int>(i));
  }

  const Network network_ = test::small_network();
  Weights weights_ = test::random_weights(network_, 3);
  RunOptions options_;
  const std::vector<FilterId> filters_{{0, 1}, {0, 2}, {1, 0}, {1, 1}, {1, 2},
                                       {1, 5}, {2, 0}, {2, 3}, {3, 1}};
  FakeEngine* engine_ = nullptr;
};

TEST_F(RendererTest, GivesTheEngineItsScheduleInOrder) {
  for (const BatchForm form : {BatchForm::one_layer, BatchForm::mixed_layers, BatchForm::fixed}) {
    Renderer renderer = make(form, 4);
    Collector got;
    renderer.render(filters_, got, {});
    expect_each_at_its_index(filters_, got);
    EXPECT_EQ(got.progress, 9);
    EXPECT_TRUE(got.notices.empty());
    const Schedule schedule = renderer.schedule(filters_);
    ASSERT_EQ(engine_->groups.size(), schedule.groups.size());
    for (std::size_t i = 0; i < schedule.groups.size(); ++i)
      EXPECT_EQ(engine_->groups[i].layout, schedule.groups[i].layout);
  }
}

TEST_F(RendererTest, GoesOnWithSmallerBatchesWhereMemoryIsShort) {
  for (const BatchForm form : {BatchForm::one_layer, BatchForm::mixed_layers}) {
    for (const int fitting : {1, 2, 3}) {
      Renderer renderer = make(form, 4);
      engine_->fitting = fitting;
      Collector got;
      renderer.render(filters_, got, {});
      expect_each_at_its_index(filters_, got);
      EXPECT_EQ(got.progress, 9);
      for (const BatchGroup& group : engine_->groups) EXPECT_LE(group.layout.images(), fitting);
      EXPECT_THAT(got.notices.front(), HasSubstr("fake is out of fake memory; continuing with at most "));
    }
  }
}

TEST_F(RendererTest, KeepsTheBatchesBeforeTheOneThatFailed) {
  for (const int batches : {1, 2, 3}) {
    for (const BatchForm form : {BatchForm::one_layer, BatchForm::mixed_layers}) {
      Renderer renderer = make(form, 2);
      engine_->batches_with_memory = batches;
      Collector got;
      renderer.render(filters_, got, {});
      expect_each_at_its_index(filters_, got);
      EXPECT_EQ(got.progress, 9);
      EXPECT_EQ(got.notices.size(), 1u);
    }
  }
}

TEST_F(RendererTest, FailsWhereNotEvenOneImageHasMemory) {
  Renderer renderer = make(BatchForm::one_layer, 4);
  engine_->fitting = 0;
  Collector got;
  try {
    renderer.render(filters_, got, {});
    ADD_FAILURE() << "no Error";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::device);
    EXPECT_EQ(std::string(error.what()),
              "fake: out of fake memory for 1 image of 96 x 96 at fp32; give a smaller --size, or buy some");
  }
}

TEST_F(RendererTest, FixedBatchesAreNotMadeSmaller) {
  Renderer renderer = make(BatchForm::fixed, 4);
  engine_->fitting = 3;
  Collector got;
  EXPECT_THAT([&] { renderer.render(filters_, got, {}); },
              testing::ThrowsMessage<Error>(HasSubstr(
                  "fake: out of fake memory for 4 images of 96 x 96 at fp32; give a smaller --size or "
                  "--batch, or buy some")));
  EXPECT_TRUE(got.results.empty());
}

TEST_F(RendererTest, StopsBetweenBatches) {
  Renderer renderer = make(BatchForm::one_layer, 2);
  Collector got;
  got.stop_after = 3;
  renderer.render(filters_, got, got.stop.get_token());
  EXPECT_EQ(got.results.size(), 4u);
}

TEST_F(RendererTest, EstimatesFromOneGroupOfEachLayer) {
  options_.extent = {16, 16};
  Renderer renderer = make(BatchForm::one_layer, 3);
  // Ten iterations of each image: of layer n they take n + 1 seconds.
  EXPECT_EQ(renderer.estimate(filters_, 1, {}), 10 * (2 * 1 + 4 * 2 + 2 * 3 + 1 * 4));
  EXPECT_GE(renderer.phases().plans, 0);
  // Each layer is timed for two iterations of ten.
  EXPECT_EQ(renderer.estimate(filters_, 0.1, {}), std::nullopt);
  std::stop_source stop;
  stop.request_stop();
  EXPECT_EQ(renderer.estimate(filters_, 1, stop.get_token()), std::nullopt);
  engine_->fitting = 0;
  EXPECT_THROW(renderer.estimate(filters_, 1, {}), Error);
}

TEST_F(RendererTest, GradientsAreInTheOrderOfTheFilters) {
  options_.extent = {16, 16};
  std::vector<float> images;
  for (std::size_t i = 0; i < filters_.size(); ++i)
    images.insert(images.end(), 16 * 16 * 3, static_cast<float>(i));
  for (const BatchForm form : {BatchForm::one_layer, BatchForm::mixed_layers, BatchForm::fixed}) {
    Renderer renderer = make(form, 4);
    const std::vector<FilterGradient> found = renderer.gradients(filters_, images);
    for (std::size_t i = 0; i < filters_.size(); ++i) {
      EXPECT_EQ(found[i].id, filters_[i]);
      EXPECT_EQ(found[i].loss, static_cast<double>(i));
    }
  }
}

TEST_F(RendererTest, TakesFiltersThatOverflowAgainInALargerRange) {
  for (const BatchForm form : {BatchForm::one_layer, BatchForm::mixed_layers, BatchForm::fixed}) {
    Renderer renderer = make(form, 4);
    engine_->range_needed = {{{0, 2}, 1}, {{1, 5}, 2}, {{2, 0}, 3}};
    Collector got;
    renderer.render(filters_, got, {});
    expect_each_at_its_index(filters_, got);
    for (const auto& [id, result] : got.results) {
      const bool beyond = id.layer == 2 && id.filter == 0;
      EXPECT_EQ(result.status, beyond ? FilterStatus::nonfinite : FilterStatus::ok);
    }
    EXPECT_EQ(got.progress, 9);  // What is taken again is no progress.
    EXPECT_EQ(engine_->range, 2);
  }
}

TEST_F(RendererTest, DeliversWhatIsNotFiniteWhenItIsStopped) {
  Renderer renderer = make(BatchForm::one_layer, 2);
  engine_->range_needed = {{{0, 1}, 1}};
  Collector got;
  got.stop_after = 1;
  renderer.render(filters_, got, got.stop.get_token());
  EXPECT_EQ(got.results.at(FilterId(0, 1)).status, FilterStatus::nonfinite);
  EXPECT_EQ(engine_->range, 0);
}

TEST_F(RendererTest, RefusesMissingWeightsBeforeTheEngineIsAsked) {
  weights_.layers[2].reset();
  Renderer renderer = make(BatchForm::one_layer, 4);
  Collector got;
  EXPECT_THROW(renderer.render(filters_, got, {}), Error);
  EXPECT_THROW(renderer.estimate(filters_, 1, {}), Error);
  EXPECT_TRUE(engine_->groups.empty());
  renderer.render(std::span(filters_).first(6), got, {});
  EXPECT_EQ(got.results.size(), 6u);
}

}  // namespace
}  // namespace filterscope
