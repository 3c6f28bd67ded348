#pragma once

#include <span>
#include <vector>

#include "../ascent/recipe.h"
#include "../model/network.h"
#include "selection.h"

namespace filterscope {

/// One of `count` shares of some work; `index` counts from 1.
struct Shard {
  int index = 1;
  int count = 1;
};

/// The filters of one share: `filters` (ascending) are cut, in order, into shares of equal cost, measured by
/// ascent_flops(). Each filter is in exactly one share, the same on every
/// machine. Since the order is kept, most shares have only a few layers, whose filters can be rendered
/// together.
///
/// A filter belongs to the share in which the middle of its cost lies. If that leaves a share empty while
/// another has several filters, the nearest cuts move: with at least as many filters as shares, none is
/// empty; with fewer, none has two. The most expensive share costs at most as much as the mean share and the
/// most expensive filter together, hence less than twice what the best cuts would give it.
std::vector<FilterId> filters_of_shard(std::span<const FilterId> filters, const Network& network,
                                       const Recipe& recipe, Shard shard);

}  // namespace filterscope
