#include "geometry.h"

#include <algorithm>
#include <cassert>

namespace filterscope::cuda {

Geometry::Geometry(std::vector<int> targets) : targets_(std::move(targets)) {
  while (!targets_.empty() && targets_.back() == 0) targets_.pop_back();
  assert(!targets_.empty());
  passing_.resize(targets_.size());
  int above = 0;
  for (int layer = deepest(); layer >= 0; --layer) {
    passing_[layer] = above;
    above += targets_[layer];
  }
}

int Geometry::layer_of(int image) const {
  int layer = 0;
  while (image < passing(layer)) ++layer;
  return layer;
}

namespace {

// Deals the filters of each layer out to batches of `targets[layer]` of them.
std::vector<Assignment> assign(std::span<const FilterId> filters, const Geometry& geometry, int batches) {
  std::vector<Assignment> result(batches);
  for (Assignment& assignment : result) {
    assignment.filters.resize(geometry.images());
    assignment.selected.assign(geometry.images(), Assignment::kNone);
  }
  for (int layer = 0; layer <= geometry.deepest(); ++layer) {
    const auto [first, last] = std::ranges::equal_range(filters, layer, {}, &FilterId::layer);
    const auto count = static_cast<std::int64_t>(last - first);
    const std::int64_t begin = first - filters.begin();
    for (int batch = 0; batch < batches; ++batch) {
      for (int i = 0; i < geometry.leaving(layer); ++i) {
        const int image = geometry.passing(layer) + i;
        const std::int64_t at = std::int64_t{batch} * geometry.leaving(layer) + i;
        result[batch].filters[image] =
            at < count ? filters[begin + at] : FilterId{layer, filters[begin].filter};
        if (at < count) result[batch].selected[image] = begin + at;
      }
    }
  }
  return result;
}

std::vector<int> count_by_layer(std::span<const FilterId> filters, int layer_count) {
  std::vector<int> counts(layer_count);
  for (const FilterId id : filters) ++counts[id.layer];
  return counts;
}

}  // namespace

std::vector<BatchPlan> plan_batches(std::span<const FilterId> filters, int layer_count, int largest) {
  assert(!filters.empty() && largest > 0);
  const std::vector<int> counts = count_by_layer(filters, layer_count);
  const int layers = static_cast<int>(std::ranges::count_if(counts, [](int count) { return count > 0; }));
  if (largest < layers) return plan_fixed_batches(filters, layer_count, largest);
  // Every layer's share is rounded up, so a batch needs more room than its part of all filters.
  const auto share = [&](int batches) {
    std::vector<int> targets(counts.size());
    for (std::size_t layer = 0; layer < counts.size(); ++layer) {
      targets[layer] = (counts[layer] + batches - 1) / batches;
    }
    return Geometry(targets);
  };
  int batches = (static_cast<int>(filters.size()) + largest - 1) / largest;
  while (share(batches).images() > largest) ++batches;
  const Geometry geometry = share(batches);
  return {{geometry, assign(filters, geometry, batches)}};
}

std::vector<BatchPlan> plan_fixed_batches(std::span<const FilterId> filters, int layer_count, int size) {
  const std::vector<int> counts = count_by_layer(filters, layer_count);
  std::vector<BatchPlan> plans;
  for (int layer = 0; layer < layer_count; ++layer) {
    if (counts[layer] == 0) continue;
    std::vector<int> targets(layer + 1);
    targets[layer] = size;
    Geometry geometry(targets);
    plans.push_back({geometry, assign(filters, geometry, (counts[layer] + size - 1) / size)});
  }
  return plans;
}

}  // namespace filterscope::cuda
