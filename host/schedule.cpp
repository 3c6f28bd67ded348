#include "schedule.h"

#include <algorithm>

namespace filterscope {

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

}  // namespace filterscope
