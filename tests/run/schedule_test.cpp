#include "host/run/schedule.h"

#include <gtest/gtest.h>

namespace filterscope {
namespace {

std::vector<FilterId> filters_of(int layer, int count) {
  std::vector<FilterId> filters;
  for (int filter = 0; filter < count; ++filter) filters.push_back({layer, filter});
  return filters;
}

TEST(Schedule, NothingGivesNoBatch) {
  EXPECT_TRUE(schedule({}, 4).empty());
}

TEST(Schedule, BatchesOfOneLayerAreAsEqualAsCanBe) {
  const std::vector<Batch> batches = schedule(filters_of(3, 20), 16);
  ASSERT_EQ(batches.size(), 2u);
  EXPECT_EQ(batches[0].filters.size(), 10u);
  EXPECT_EQ(batches[1].filters.size(), 10u);
  EXPECT_EQ(batches[1].filters.front(), 10);
}

TEST(Schedule, EveryFilterOnceInOrderAndLayersApart) {
  std::vector<FilterId> filters = filters_of(0, 5);
  for (const FilterId id : filters_of(2, 9)) filters.push_back(id);
  std::vector<FilterId> seen;
  for (const Batch& batch : schedule(filters, 4)) {
    EXPECT_LE(batch.filters.size(), 4u);
    for (const int filter : batch.filters) seen.push_back({batch.layer, filter});
  }
  EXPECT_EQ(seen, filters);
}

TEST(Schedule, FramesLimitTheBatchToAGigabyte) {
  Recipe recipe = find_recipe("seed");
  recipe.iterations = 500;
  RenderOptions options;
  options.extent = {96, 96};
  EXPECT_EQ(frame_bytes(recipe, options), 0u);
  EXPECT_EQ(limit_by_frames(5000, recipe, options), 5000);
  options.frame_every = 10;
  EXPECT_EQ(frame_bytes(recipe, options), 51u * 96 * 96 * 3);
  EXPECT_EQ(limit_by_frames(64, recipe, options), 64);
  EXPECT_EQ(limit_by_frames(5000, recipe, options), 761);
  options.frame_every = 7;
  EXPECT_EQ(frame_bytes(recipe, options), 73u * 96 * 96 * 3);  // 0, 7, ..., 497, 500
  options.frame_every = 1;
  options.extent = {2048, 2048};
  EXPECT_EQ(limit_by_frames(64, recipe, options), 1);
}

}  // namespace
}  // namespace filterscope
