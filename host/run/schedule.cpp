#include "schedule.h"

#include <algorithm>

namespace filterscope {

namespace {

constexpr std::size_t kFrameBytes = std::size_t{1} << 30;

}  // namespace

std::vector<Batch> schedule(std::span<const FilterId> filters, int largest) {
  std::vector<Batch> batches;
  while (!filters.empty()) {
    const int layer = filters.front().layer;
    const auto end = std::ranges::find_if(filters, [layer](FilterId id) { return id.layer != layer; });
    const auto of_layer = filters.first(static_cast<std::size_t>(end - filters.begin()));
    const std::size_t count = (of_layer.size() + largest - 1) / largest;
    for (std::size_t batch = 0; batch < count; ++batch) {
      batches.push_back({layer, {}});
      const std::size_t first = of_layer.size() * batch / count;
      const std::size_t last = of_layer.size() * (batch + 1) / count;
      for (const FilterId id : of_layer.subspan(first, last - first))
        batches.back().filters.push_back(id.filter);
    }
    filters = filters.subspan(of_layer.size());
  }
  return batches;
}

std::size_t frame_bytes(const Recipe& recipe, const RenderOptions& options) {
  if (options.frame_every == 0) return 0;
  return static_cast<std::size_t>(options.extent.positions()) * 3 *
         static_cast<std::size_t>(frame_count(recipe.iterations, options.frame_every));
}

int limit_by_frames(int largest, const Recipe& recipe, const RenderOptions& options) {
  const std::size_t bytes = frame_bytes(recipe, options);
  if (bytes == 0) return largest;
  return static_cast<int>(std::min<std::size_t>(static_cast<std::size_t>(largest),
                                                std::max<std::size_t>(kFrameBytes / bytes, 1)));
}

}  // namespace filterscope
