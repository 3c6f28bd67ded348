#include "shard.h"

#include <algorithm>

namespace filterscope {

std::vector<FilterId> filters_of_shard(std::span<const FilterId> filters, const Network& network,
                                       Extent image, Shard shard) {
  // Costs are whole numbers far below 2^53: sums of them are exact, and every machine rounds the quotient
  // alike.
  double total = 0;
  for (const FilterId id : filters) total += network.iteration_flops(id.layer, image);
  std::vector<FilterId> share;
  double before = 0;
  for (const FilterId id : filters) {
    const double cost = network.iteration_flops(id.layer, image);
    const double middle = 2 * before + cost;
    const int index = 1 + static_cast<int>(middle * shard.count / (2 * total));
    if (std::min(index, shard.count) == shard.index) share.push_back(id);
    before += cost;
  }
  return share;
}

}  // namespace filterscope
