#include "schedule.h"

#include <fmt/format.h>

#include <algorithm>
#include <cassert>
#include <cmath>
#include <numeric>
#include <utility>

#include "../base/text.h"

namespace filterscope {

namespace {

constexpr std::size_t kFrameBytes = std::size_t{1} << 30;

int ceil_div(int a, int b) {
  return (a + b - 1) / b;
}

std::vector<int> count_by_layer(std::span<const FilterId> filters) {
  std::vector<int> counts(filters.empty() ? 0 : filters.back().layer + 1);
  for (const FilterId id : filters) ++counts[id.layer];
  return counts;
}

BatchLayout one_layer_layout(int layer, int images) {
  std::vector<int> targeting(layer + 1);
  targeting[layer] = images;
  return BatchLayout(std::move(targeting));
}

// Distributes the filters over `batches` batches of `layout`, which together have room for all.
BatchGroup deal(std::span<const FilterId> filters, const BatchLayout& layout, int batches) {
  BatchGroup group{layout, std::vector<Batch>(batches)};
  for (Batch& batch : group.batches) {
    batch.filters.resize(layout.images());
    batch.indices.assign(layout.images(), Batch::kPadding);
  }
  for (int layer = 0; layer <= layout.deepest_layer(); ++layer) {
    const auto [first, last] = std::ranges::equal_range(filters, layer, {}, &FilterId::layer);
    const auto count = static_cast<std::int64_t>(last - first);
    const std::int64_t begin = first - filters.begin();
    for (int batch = 0; batch < batches; ++batch) {
      for (int i = 0; i < layout.targeting(layer); ++i) {
        const int image = layout.continuing_past(layer) + i;
        const std::int64_t at = std::int64_t{batch} * layout.targeting(layer) + i;
        group.batches[batch].filters[image] = filters[begin + (at < count ? at : 0)];
        if (at < count) group.batches[batch].indices[image] = begin + at;
      }
    }
  }
  return group;
}

std::vector<BatchGroup> cut_one_layer(std::span<const FilterId> filters, int images) {
  std::vector<BatchGroup> groups;
  std::int64_t index = 0;
  for (const int of_layer : count_by_layer(filters)) {
    const int batches = ceil_div(of_layer, images);
    for (int i = 0; i < batches; ++i) {
      const int count =
          static_cast<int>(std::int64_t{of_layer} * (i + 1) / batches - std::int64_t{of_layer} * i / batches);
      Batch batch;
      for (; std::ssize(batch.filters) < count; ++index) {
        batch.filters.push_back(filters[index]);
        batch.indices.push_back(index);
      }
      const BatchLayout layout = one_layer_layout(batch.filters.front().layer, count);
      if (groups.empty() || groups.back().layout != layout) groups.push_back({layout, {}});
      groups.back().batches.push_back(std::move(batch));
    }
  }
  return groups;
}

std::vector<BatchGroup> cut_fixed(std::span<const FilterId> filters, int images) {
  const std::vector<int> counts = count_by_layer(filters);
  std::vector<BatchGroup> groups;
  for (std::size_t layer = 0; layer < counts.size(); ++layer) {
    if (counts[layer] == 0) continue;
    groups.push_back(
        deal(filters, one_layer_layout(static_cast<int>(layer), images), ceil_div(counts[layer], images)));
  }
  return groups;
}

std::vector<BatchGroup> cut_mixed_layers(std::span<const FilterId> filters, int images) {
  std::vector<int> counts = count_by_layer(filters);
  auto layers = std::ranges::count_if(counts, [](int count) { return count > 0; });
  std::vector<BatchGroup> groups;
  for (std::size_t layer = 0; layers > images && layers > 1; ++layer) {
    if (counts[layer] == 0) continue;
    groups.push_back(
        deal(filters, one_layer_layout(static_cast<int>(layer), images), ceil_div(counts[layer], images)));
    counts[layer] = 0;
    --layers;
  }
  // The share of each layer is rounded up, so a batch can need more images than its part of all filters.
  const auto share = [&](int batches) {
    std::vector<int> targeting;
    for (const int count : counts) targeting.push_back(ceil_div(count, batches));
    return BatchLayout(std::move(targeting));
  };
  int batches = ceil_div(std::reduce(counts.begin(), counts.end()), images);
  while (share(batches).images() > images) ++batches;
  groups.push_back(deal(filters, share(batches), batches));
  return groups;
}

std::size_t most_bytes(std::span<const BatchGroup> groups, const BatchBytes& bytes_of) {
  std::size_t most = 0;
  for (const BatchGroup& group : groups) most = std::max(most, bytes_of(group.layout));
  return most;
}

}  // namespace

std::vector<BatchGroup> cut_batches(std::span<const FilterId> filters, BatchForm form, int images) {
  assert(images > 0);
  if (filters.empty()) return {};
  switch (form) {
    case BatchForm::one_layer:
      return cut_one_layer(filters, images);
    case BatchForm::mixed_layers:
      return cut_mixed_layers(filters, images);
    case BatchForm::fixed:
      break;
  }
  return cut_fixed(filters, images);
}

Schedule make_schedule(std::span<const FilterId> filters, const Recipe& recipe, const RenderOptions& options,
                       const BatchLimits& limits, const BatchBytes& bytes_of) {
  const auto cut = [&](int images, std::string reason) {
    return Schedule{cut_batches(filters, limits.form, images), limits.form, images, std::move(reason)};
  };
  if (options.batch > 0) return cut(options.batch, "--batch");
  if (limits.form == BatchForm::fixed) return cut(limits.images, limits.reason);

  Schedule schedule{{}, limits.form, limits.images, limits.reason};
  const auto limit = [&](std::size_t images, std::string reason) {
    if (images >= static_cast<std::size_t>(schedule.images)) return;
    schedule.images = std::max(static_cast<int>(images), 1);
    schedule.reason = std::move(reason);
  };
  if (limits.form == BatchForm::mixed_layers) limit(filters.size(), "all filters at once");
  // Whatever the engine, frames also wait in host memory until they are encoded.
  if (const std::size_t bytes = frame_bytes(recipe, options); bytes > 0)
    limit(kFrameBytes / bytes, "1 GB of frames");
  schedule.groups = cut_batches(filters, limits.form, schedule.images);
  if (!limits.memory) return schedule;
  const auto memory = static_cast<double>(*limits.memory);
  while (schedule.images > 1) {
    const auto bytes = static_cast<double>(most_bytes(schedule.groups, bytes_of));
    if (bytes <= memory) break;
    const double fitting = std::min(schedule.images - 1.0, schedule.images * memory / bytes);
    limit(static_cast<std::size_t>(fitting),
          fmt::format("{} MB of free memory", with_thousands(std::llround(1e-6 * memory))));
    schedule.groups = cut_batches(filters, limits.form, schedule.images);
  }
  return schedule;
}

std::size_t frame_bytes(const Recipe& recipe, const RenderOptions& options) {
  if (options.frame_every == 0) return 0;
  return static_cast<std::size_t>(recipe.picture_extent().positions()) * 3 *
         static_cast<std::size_t>(frame_count(recipe.iterations(), options.frame_every));
}

}  // namespace filterscope
