#include "host/run/shard.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "host/run/costs.h"

namespace filterscope {
namespace {

std::vector<FilterId> all_filters(const Network& network) {
  return parse_selection({}, network, 0);
}

Recipe recipe_of(Extent image) {
  Recipe recipe;
  recipe.stages.front().extent = image;
  return recipe;
}

double cost_of(const std::vector<FilterId>& filters, const Network& network, Extent image) {
  double cost = 0;
  for (const FilterId id : filters) cost += network.iteration_flops(id.layer, image);
  return cost;
}

TEST(Shard, EveryFilterIsInExactlyOne) {
  const Network& network = vgg16();
  std::mt19937 random(1);
  for (const int count : {1, 2, 3, 4, 7, 16, 100, 500}) {
    std::vector<FilterId> filters = all_filters(network);
    if (count == 7) std::erase_if(filters, [&](FilterId) { return random() % 3 == 0; });
    const Extent image{96, 80 + count % 50};
    std::vector<FilterId> joined;
    for (int index = 1; index <= count; ++index) {
      const auto share = filters_of_shard(filters, network, recipe_of(image), {index, count});
      joined.insert(joined.end(), share.begin(), share.end());
    }
    EXPECT_EQ(joined, filters) << count;  // Hence each share is contiguous, and the shares ascend.
  }
}

TEST(Shard, CostsAreEqualToWithinAFilter) {
  const Network& network = vgg16();
  const Extent image{96, 96};
  const std::vector<FilterId> filters = all_filters(network);
  double dearest = 0;
  for (const FilterId id : filters) dearest = std::max(dearest, network.iteration_flops(id.layer, image));
  for (const int count : {2, 4, 5, 16, 64}) {
    const double mean = cost_of(filters, network, image) / count;
    std::vector<std::size_t> sizes;
    for (int index = 1; index <= count; ++index) {
      const auto share = filters_of_shard(filters, network, recipe_of(image), {index, count});
      EXPECT_NEAR(cost_of(share, network, image), mean, dearest) << index << "/" << count;
      sizes.push_back(share.size());
    }
    // Shares are not equal in number: the first layers' filters cost little.
    EXPECT_GT(sizes.front(), sizes.back()) << count;
  }
}

std::vector<std::vector<FilterId>> all_shares(const std::vector<FilterId>& filters, Extent image, int count) {
  std::vector<std::vector<FilterId>> shares;
  for (int index = 1; index <= count; ++index)
    shares.push_back(filters_of_shard(filters, vgg16(), recipe_of(image), {index, count}));
  return shares;
}

TEST(Shard, NoShareIsEmptyWhileAnotherHasSeveral) {
  const std::vector<FilterId> filters{{0, 0}, {0, 1}, {1, 0}, {1, 1}};  // The last two cost nearly all.
  const auto shares = all_shares(filters, {32, 32}, 3);
  EXPECT_EQ(shares[0], (std::vector<FilterId>{{0, 0}, {0, 1}}));
  EXPECT_EQ(shares[1], (std::vector<FilterId>{{1, 0}}));
  EXPECT_EQ(shares[2], (std::vector<FilterId>{{1, 1}}));
}

// If the middles of the filters' costs leave no share empty, they alone decide, so that shares begun by
// earlier versions can be resumed.
std::vector<std::vector<FilterId>> shares_by_middles(const std::vector<FilterId>& filters, Extent image,
                                                     int count) {
  std::vector<std::vector<FilterId>> shares(static_cast<std::size_t>(count));
  const double total = cost_of(filters, vgg16(), image);
  double before = 0;
  for (const FilterId id : filters) {
    const double cost = vgg16().iteration_flops(id.layer, image);
    const int index = static_cast<int>((2 * before + cost) * count / (2 * total));
    shares[static_cast<std::size_t>(std::min(index, count - 1))].push_back(id);
    before += cost;
  }
  return shares;
}

TEST(Shard, AnySelectionInAnyNumberOfShares) {
  const Network& network = vgg16();
  std::mt19937 random(7);
  const auto below = [&](std::size_t end) { return static_cast<int>(random() % end); };
  int as_before = 0;
  for (int trial = 0; trial < 600; ++trial) {
    std::vector<FilterId> filters;
    const int layers = 1 + below(13);
    const int most = 1 + below(trial % 2 == 0 ? 4 : 60);
    for (int layer = below(4); layer < layers; ++layer)
      for (int filter = 0, end = below(static_cast<std::size_t>(most) + 1); filter < end; ++filter)
        filters.push_back({layer, filter});
    if (filters.empty()) filters.push_back({below(13), 0});
    const int count = 1 + below(2 * filters.size());
    const Extent image{32 + below(100), 32 + below(100)};
    SCOPED_TRACE(selectors_of(filters, network) + " in " + std::to_string(count));

    double dearest = 0;
    for (const FilterId id : filters) dearest = std::max(dearest, network.iteration_flops(id.layer, image));
    const double most_cost = cost_of(filters, network, image) / count + dearest;
    const auto shares = all_shares(filters, image, count);
    std::vector<FilterId> joined;
    for (const auto& share : shares) {
      joined.insert(joined.end(), share.begin(), share.end());
      ASSERT_LE(cost_of(share, network, image), most_cost * (1 + 1e-12));
      if (std::ssize(filters) >= count)
        ASSERT_GE(share.size(), 1u);
      else
        ASSERT_LE(share.size(), 1u);
    }
    ASSERT_EQ(joined, filters);
    const auto middles = shares_by_middles(filters, image, count);
    if (std::ranges::none_of(middles, &std::vector<FilterId>::empty)) {
      ASSERT_EQ(shares, middles);
      ++as_before;
    }
  }
  EXPECT_GT(as_before, 100);
  EXPECT_LT(as_before, 500);
}

TEST(Shard, MoreSharesThanFiltersLeaveSomeEmpty) {
  const std::vector<FilterId> filters{{0, 4}, {0, 5}, {12, 7}};
  std::size_t sum = 0;
  for (const auto& share : all_shares(filters, {32, 32}, 5)) {
    EXPECT_LE(share.size(), 1u);
    sum += share.size();
  }
  EXPECT_EQ(sum, 3u);
  EXPECT_TRUE(filters_of_shard({}, vgg16(), recipe_of({32, 32}), {1, 2}).empty());
  EXPECT_TRUE(filters_of_shard({}, vgg16(), recipe_of({32, 32}), {2, 2}).empty());
}

TEST(Shard, CountsAllStages) {
  Recipe recipe;
  recipe.stages = {Stage{.extent = {64, 48}, .iterations = 30}, Stage{.extent = {96, 96}, .iterations = 7}};
  recipe.stages[1].transforms.list = {{.kind = Transform::Kind::pad, .pixels = 5}};
  for (const int layer : {0, 5, 12})
    EXPECT_EQ(ascent_flops(vgg16(), recipe, layer),
              30 * vgg16().iteration_flops(layer, {64, 48}) + 7 * vgg16().iteration_flops(layer, {106, 106}));
  const std::vector<FilterId> filters = all_filters(vgg16());
  double dearest = 0, sum = 0;
  const auto cost = [&](FilterId id) { return ascent_flops(vgg16(), recipe, id.layer); };
  for (const FilterId id : filters) {
    dearest = std::max(dearest, cost(id));
    sum += cost(id);
  }
  for (int index = 1; index <= 4; ++index) {
    double share = 0;
    for (const FilterId id : filters_of_shard(filters, vgg16(), recipe, {index, 4})) share += cost(id);
    EXPECT_NEAR(share, sum / 4, dearest) << index;
  }
}

}  // namespace
}  // namespace filterscope
