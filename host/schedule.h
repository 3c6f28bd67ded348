#pragma once

#include <span>
#include <vector>

#include "selection.h"

namespace filterscope {

/// Filters that are ascended together; all of one layer.
struct Batch {
  int layer;
  std::vector<int> filters;  ///< Numbers in the layer.
};

/// Cuts filters (ascending) into batches of one layer and at most `largest` filters each, the batches of a
/// layer as equal in size as can be.
std::vector<Batch> schedule(std::span<const FilterId> filters, int largest);

}  // namespace filterscope
