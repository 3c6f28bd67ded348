#include "host/run/schedule.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <iterator>
#include <random>
#include <span>
#include <vector>

#include "host/model/network.h"

namespace filterscope {
namespace {

std::vector<FilterId> all_filters(const Network& network) {
  std::vector<FilterId> filters;
  for (int layer = 0; layer < network.layer_count(); ++layer) {
    for (int filter = 0; filter < network.convolutions[layer].out_channels; ++filter)
      filters.push_back({layer, filter});
  }
  return filters;
}

std::vector<FilterId> filters_of(int layer, int count) {
  std::vector<FilterId> filters;
  for (int filter = 0; filter < count; ++filter) filters.push_back({layer, filter});
  return filters;
}

// Each filter once, in a place of its layer; padding, of which the last batch has most, repeats a filter of
// the same layer.
void expect_complete(const std::vector<BatchGroup>& groups, std::span<const FilterId> filters, int images) {
  std::vector<int> seen(filters.size());
  for (const BatchGroup& group : groups) {
    EXPECT_LE(group.layout.images(), images);
    std::ptrdiff_t before = group.layout.images();
    for (const Batch& batch : group.batches) {
      ASSERT_EQ(std::ssize(batch.filters), group.layout.images());
      ASSERT_EQ(batch.indices.size(), batch.filters.size());
      for (int image = 0; image < group.layout.images(); ++image) {
        EXPECT_EQ(batch.filters[image].layer, group.layout.layer_of(image));
        const std::int64_t index = batch.indices[image];
        if (index == Batch::kPadding) continue;
        EXPECT_EQ(filters[index], batch.filters[image]);
        ++seen[index];
      }
      EXPECT_GT(batch.filter_count(), 0);
      EXPECT_LE(batch.filter_count(), before);
      before = batch.filter_count();
    }
  }
  EXPECT_THAT(seen, testing::Each(1));
}

constexpr BatchForm kForms[] = {BatchForm::one_layer, BatchForm::mixed_layers, BatchForm::fixed};

TEST(CutBatches, AnySelectionInEveryForm) {
  const std::vector<FilterId> all = all_filters(vgg16());
  std::mt19937 generator(5);
  for (int round = 0; round < 200; ++round) {
    std::vector<FilterId> filters;
    std::ranges::sample(all, std::back_inserter(filters), std::uniform_int_distribution(1, 60)(generator),
                        generator);
    const int images = std::uniform_int_distribution(1, 40)(generator);
    for (const BatchForm form : kForms) expect_complete(cut_batches(filters, form, images), filters, images);
  }
  for (const BatchForm form : kForms) EXPECT_TRUE(cut_batches({}, form, 4).empty());
}

TEST(CutBatches, OfOneLayerAreAsEqualAsPossibleAndInOrder) {
  std::vector<FilterId> filters = filters_of(0, 5);
  for (const FilterId id : filters_of(3, 20)) filters.push_back(id);
  const auto groups = cut_batches(filters, BatchForm::one_layer, 3);
  std::vector<std::size_t> sizes;
  std::vector<FilterId> seen;
  for (const BatchGroup& group : groups) {
    for (const Batch& batch : group.batches) {
      sizes.push_back(batch.filters.size());
      seen.insert(seen.end(), batch.filters.begin(), batch.filters.end());
      EXPECT_THAT(batch.indices, testing::Not(testing::Contains(Batch::kPadding)));
    }
  }
  EXPECT_THAT(sizes, testing::ElementsAre(2, 3, 2, 3, 3, 3, 3, 3, 3));
  EXPECT_EQ(seen, filters);
  // Batches of equal size share a group.
  EXPECT_EQ(groups.size(), 4u);
}

TEST(CutBatches, OfMixedLayersHaveOneLayout) {
  const std::vector<FilterId> filters = all_filters(vgg16());
  for (const int images : {13, 14, 100, 1000, 2112, 3640, 4224, 10000}) {
    SCOPED_TRACE(images);
    const auto groups = cut_batches(filters, BatchForm::mixed_layers, images);
    ASSERT_EQ(groups.size(), 1u);
    expect_complete(groups, filters, images);
  }
  const auto groups = cut_batches(filters, BatchForm::mixed_layers, 3640);
  ASSERT_EQ(groups[0].batches.size(), 2u);
  EXPECT_EQ(groups[0].layout.images(), 2112);
  EXPECT_EQ(groups[0].layout.targeting(12), 256);
  // Nothing is computed twice where the numbers divide.
  for (const Batch& batch : groups[0].batches) EXPECT_THAT(batch.indices, testing::Each(testing::Ge(0)));
  // Without an image for each layer, the first layers have groups of their own.
  EXPECT_EQ(cut_batches(filters, BatchForm::mixed_layers, 12).size(), 2u);
  EXPECT_EQ(cut_batches(filters, BatchForm::mixed_layers, 1).size(), 13u);
}

TEST(CutBatches, OfTheFixedFormDoNotDependOnTheSelection) {
  const std::vector<FilterId> few{{4, 7}};
  const std::vector<FilterId> many{{2, 1}, {4, 0}, {4, 7}, {4, 8}, {4, 9}, {4, 10}};
  const auto alone = cut_batches(few, BatchForm::fixed, 4);
  const auto among = cut_batches(many, BatchForm::fixed, 4);
  ASSERT_EQ(alone.size(), 1u);
  ASSERT_EQ(among.size(), 2u);
  EXPECT_EQ(alone[0].layout, among[1].layout);
  EXPECT_EQ(among[1].batches.size(), 2u);
}

class MakeSchedule : public testing::Test {
 protected:
  MakeSchedule() { recipe_.stages[0].iterations = 500; }

  // An engine whose batches take a byte for each image and layer that it passes, and 1000 besides.
  Schedule schedule(const BatchLimits& limits, int filters = 5000) const {
    return make_schedule(filters_of(3, filters), recipe_, options_, limits, [](const BatchLayout& layout) {
      return 1000 + static_cast<std::size_t>(layout.images() * (layout.deepest_layer() + 1));
    });
  }

  Recipe recipe_ = find_recipe("seed");
  RenderOptions options_;
};

TEST_F(MakeSchedule, TakesWhatTheEngineTakes) {
  const Schedule schedule = this->schedule({BatchForm::one_layer, 16, "enough", {}}, 40);
  EXPECT_EQ(schedule.images, 16);
  EXPECT_EQ(schedule.reason, "enough");
  EXPECT_EQ(schedule.groups.size(), 2u);
}

TEST_F(MakeSchedule, MixedLayersTakeNoMoreThanThereAreFilters) {
  const Schedule schedule = this->schedule({BatchForm::mixed_layers, 4096, "most", {}}, 40);
  EXPECT_EQ(schedule.images, 40);
  EXPECT_EQ(schedule.reason, "all filters at once");
}

TEST_F(MakeSchedule, FitsTheMemoryThatThereIs) {
  for (const BatchForm form : {BatchForm::one_layer, BatchForm::mixed_layers}) {
    EXPECT_EQ(schedule({form, 64, "most", 1256}).images, 64);
    const Schedule less = schedule({form, 64, "most", 1255});
    EXPECT_EQ(less.images, 63);
    EXPECT_EQ(less.reason, "0 MB of free memory");
    for (const std::size_t bytes : {1100u, 1010u, 1004u}) {
      const int images = schedule({form, 64, "most", bytes}).images;
      EXPECT_LE(1000 + 4 * images, static_cast<int>(bytes));
      EXPECT_GT(images, 0);
    }
    // If not even one fits, the engine will report it.
    EXPECT_EQ(schedule({form, 64, "most", 10}).images, 1);
    EXPECT_EQ(schedule({form, 64, "most", 0}).images, 1);
  }
  // A number that fixes results is not changed.
  EXPECT_EQ(schedule({BatchForm::fixed, 64, "fixed", 1004}).images, 64);
}

TEST_F(MakeSchedule, TheUsersNumberOverridesAll) {
  options_.batch = 300;
  options_.frame_every = 1;
  for (const BatchForm form : kForms) {
    const Schedule schedule = this->schedule({form, 64, "most", 10});
    EXPECT_EQ(schedule.images, 300);
    EXPECT_EQ(schedule.reason, "--batch");
  }
}

TEST_F(MakeSchedule, FramesLimitTheBatchToAGigabyte) {
  const auto images = [&](int most) { return schedule({BatchForm::one_layer, most, "most", {}}).images; };
  recipe_.stages[0].extent = {96, 96};
  EXPECT_EQ(frame_bytes(recipe_, options_), 0u);
  EXPECT_EQ(images(5000), 5000);
  options_.frame_every = 10;
  EXPECT_EQ(frame_bytes(recipe_, options_), 51u * 96 * 96 * 3);
  EXPECT_EQ(images(64), 64);
  EXPECT_EQ(images(5000), 761);
  options_.frame_every = 7;
  EXPECT_EQ(frame_bytes(recipe_, options_), 73u * 96 * 96 * 3);  // 0, 7, ..., 497, 500
  options_.frame_every = 1;
  recipe_.stages[0].extent = {2048, 2048};
  EXPECT_EQ(images(64), 1);
  EXPECT_EQ(schedule({BatchForm::one_layer, 64, "most", {}}).reason, "1 GB of frames");
}

}  // namespace
}  // namespace filterscope
