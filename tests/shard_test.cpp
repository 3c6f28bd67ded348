#include "host/shard.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <random>

namespace filterscope {
namespace {

std::vector<FilterId> all_filters(const Network& network) {
  return parse_selection({}, network, 0);
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
      const auto share = filters_of_shard(filters, network, image, {index, count});
      joined.insert(joined.end(), share.begin(), share.end());
    }
    EXPECT_EQ(joined, filters) << count;  // Also: each share is contiguous, and the shares ascend.
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
      const auto share = filters_of_shard(filters, network, image, {index, count});
      EXPECT_NEAR(cost_of(share, network, image), mean, dearest) << index << "/" << count;
      sizes.push_back(share.size());
    }
    // Not by number: the first layers' filters cost little.
    EXPECT_GT(sizes.front(), sizes.back()) << count;
  }
}

TEST(Shard, SharesMayBeEmpty) {
  const Network& network = vgg16();
  const std::vector<FilterId> filters{{0, 5}, {12, 7}};
  std::size_t sum = 0;
  for (int index = 1; index <= 5; ++index)
    sum += filters_of_shard(filters, network, {32, 32}, {index, 5}).size();
  EXPECT_EQ(sum, 2u);
  EXPECT_TRUE(filters_of_shard({}, network, {32, 32}, {1, 2}).empty());
}

}  // namespace
}  // namespace filterscope
