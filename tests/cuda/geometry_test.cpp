#include "host/cuda/geometry.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>

#include "host/model/network.h"

namespace filterscope::cuda {
namespace {

TEST(Geometry, DeepestImagesComeFirst) {
  const Geometry geometry({2, 0, 3, 1, 0});
  EXPECT_EQ(geometry.images(), 6);
  EXPECT_EQ(geometry.deepest(), 3);
  EXPECT_EQ(geometry.passing(3), 0);
  EXPECT_EQ(geometry.passing(2), 1);
  EXPECT_EQ(geometry.passing(1), 4);
  EXPECT_EQ(geometry.passing(0), 4);
  EXPECT_EQ(geometry.leaving(0), 2);
  std::vector<int> layers;
  for (int image = 0; image < geometry.images(); ++image) layers.push_back(geometry.layer_of(image));
  EXPECT_THAT(layers, testing::ElementsAre(3, 2, 2, 2, 0, 0));
}

std::vector<FilterId> all_filters(const Network& network) {
  std::vector<FilterId> filters;
  for (int layer = 0; layer < network.layer_count(); ++layer) {
    for (int filter = 0; filter < network.convolutions[layer].out_channels; ++filter)
      filters.push_back({layer, filter});
  }
  return filters;
}

// Each filter once, in a place of its layer; places left over, of which the last batch has most, are filled
// with a filter of the same layer.
void expect_complete(const std::vector<BatchPlan>& plans, std::span<const FilterId> filters, int largest) {
  std::vector<int> seen(filters.size());
  for (const BatchPlan& plan : plans) {
    EXPECT_LE(plan.geometry.images(), largest);
    int before = plan.geometry.images();
    for (const Assignment& batch : plan.batches) {
      ASSERT_EQ(batch.filters.size(), std::size_t(plan.geometry.images()));
      int taken = 0;
      for (int image = 0; image < plan.geometry.images(); ++image) {
        EXPECT_EQ(batch.filters[image].layer, plan.geometry.layer_of(image));
        const std::int64_t selected = batch.selected[image];
        if (selected == Assignment::kNone) continue;
        EXPECT_EQ(filters[selected], batch.filters[image]);
        ++seen[selected];
        ++taken;
      }
      EXPECT_LE(taken, before);
      before = taken;
    }
  }
  EXPECT_THAT(seen, testing::Each(1));
}

TEST(PlanBatches, AllOfVgg16) {
  const std::vector<FilterId> filters = all_filters(vgg16());
  for (const int largest : {13, 14, 100, 1000, 2112, 3640, 4224, 10000}) {
    SCOPED_TRACE(largest);
    const auto plans = plan_batches(filters, 13, largest);
    ASSERT_EQ(plans.size(), 1u);
    expect_complete(plans, filters, largest);
  }
  const auto plans = plan_batches(filters, 13, 3640);
  ASSERT_EQ(plans[0].batches.size(), 2u);
  EXPECT_EQ(plans[0].geometry.images(), 2112);
  EXPECT_EQ(plans[0].geometry.leaving(12), 256);
  // Nothing is computed twice where the numbers divide.
  for (const Assignment& batch : plans[0].batches) EXPECT_THAT(batch.selected, testing::Each(testing::Ge(0)));
}

TEST(PlanBatches, AnySelection) {
  const std::vector<FilterId> all = all_filters(vgg16());
  std::mt19937 generator(5);
  for (int round = 0; round < 200; ++round) {
    std::vector<FilterId> filters;
    std::ranges::sample(all, std::back_inserter(filters), std::uniform_int_distribution(1, 60)(generator),
                        generator);
    const int largest = std::uniform_int_distribution(1, 40)(generator);
    expect_complete(plan_batches(filters, 13, largest), filters, largest);
    expect_complete(plan_fixed_batches(filters, 13, largest), filters, largest);
  }
}

TEST(PlanBatches, FixedGeometriesDoNotDependOnTheSelection) {
  const std::vector<FilterId> few{{4, 7}};
  const std::vector<FilterId> many{{2, 1}, {4, 0}, {4, 7}, {4, 8}, {4, 9}, {4, 10}};
  const auto alone = plan_fixed_batches(few, 13, 4);
  const auto among = plan_fixed_batches(many, 13, 4);
  ASSERT_EQ(alone.size(), 1u);
  ASSERT_EQ(among.size(), 2u);
  EXPECT_EQ(alone[0].geometry, among[1].geometry);
  EXPECT_EQ(among[1].batches.size(), 2u);
}

}  // namespace
}  // namespace filterscope::cuda
