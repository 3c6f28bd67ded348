#pragma once

#include <span>
#include <vector>

#include "../model/network.h"
#include "selection.h"

namespace filterscope {

/// One of `count` shares of some work, from 1.
struct Shard {
  int index = 1;
  int count = 1;
};

/// The filters of one share: `filters` (ascending) are cut, in their order, into shares of equal cost, which
/// is Network::iteration_flops at this image size, so that each is in exactly one, the same on every machine.
/// Few shares then have more than a few layers, whose filters can be rendered together.
///
/// A filter belongs to the share in which the middle of its cost lies. Where that would leave a share without
/// filters while another has several, the cuts nearest to them move: with at least as many filters as shares
/// none is empty, with fewer none has two. The dearest share costs at most the mean and the dearest filter
/// together, so less than twice what the best cuts would give it.
std::vector<FilterId> filters_of_shard(std::span<const FilterId> filters, const Network& network,
                                       Extent image, Shard shard);

}  // namespace filterscope
