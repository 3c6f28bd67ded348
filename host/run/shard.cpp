#include "shard.h"

#include <algorithm>
#include <cmath>
#include <cstddef>

#include "costs.h"

namespace filterscope {

std::vector<FilterId> filters_of_shard(std::span<const FilterId> filters, const Network& network,
                                       const Recipe& recipe, Shard shard) {
  // Costs of an iteration, on average, are whole numbers far below 2^53, so their sums are exact, and every
  // machine rounds the quotient in the same way.
  std::vector<double> costs;
  for (int layer = 0; layer < network.layer_count(); ++layer)
    costs.push_back(std::round(ascent_flops(network, recipe, layer) / recipe.iterations()));
  double total = 0;
  for (const FilterId id : filters) total += costs[static_cast<std::size_t>(id.layer)];
  // Share i begins with filter cuts[i - 1] and ends before cuts[i].
  std::vector<std::ptrdiff_t> cuts(static_cast<std::size_t>(shard.count) + 1, 0);
  double before = 0;
  for (const FilterId id : filters) {
    const double cost = costs[static_cast<std::size_t>(id.layer)];
    const double middle = 2 * before + cost;
    const int index = 1 + static_cast<int>(middle * shard.count / (2 * total));
    ++cuts[static_cast<std::size_t>(std::min(index, shard.count))];
    before += cost;
  }
  for (std::size_t i = 1; i < cuts.size(); ++i) cuts[i] += cuts[i - 1];

  // Cuts move up, then down, until each share has at least one filter, or at most one. A share that this
  // changes keeps part of its filters or gets a single one, so the largest cost does not grow.
  const std::ptrdiff_t surplus = std::ssize(filters) - shard.count;
  for (std::size_t i = 1; i < cuts.size(); ++i)
    cuts[i] = surplus >= 0 ? std::max(cuts[i], cuts[i - 1] + 1) : std::min(cuts[i], cuts[i - 1] + 1);
  for (std::size_t i = 1; i < cuts.size(); ++i) {
    const std::ptrdiff_t last = surplus + static_cast<std::ptrdiff_t>(i);
    cuts[i] = surplus >= 0 ? std::min(cuts[i], last) : std::max(cuts[i], last);
  }
  const auto index = static_cast<std::size_t>(shard.index);
  return {filters.begin() + cuts[index - 1], filters.begin() + cuts[index]};
}

}  // namespace filterscope
