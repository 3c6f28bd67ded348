#pragma once

#include <span>
#include <vector>

#include "network.h"
#include "selection.h"

namespace filterscope {

/// One of `count` shares of some work, from 1.
struct Shard {
  int index = 1;
  int count = 1;
};

/// The filters of one share: `filters` (ascending) are cut, in their order, into shares of equal cost, which
/// is Network::iteration_flops at this image size. A filter belongs to the share in which the middle of its
/// cost lies, so that each is in exactly one, the same on every machine; no share's cost is further from the
/// mean than the cost of one filter. Few shares then have more than a few layers, whose filters can be
/// rendered together. Where there are more shares than filters some are empty.
std::vector<FilterId> filters_of_shard(std::span<const FilterId> filters, const Network& network,
                                       Extent image, Shard shard);

}  // namespace filterscope
