#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "engine.h"
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

/// Of one filter's frames; 0 where none are taken.
std::size_t frame_bytes(const Recipe& recipe, const RenderOptions& options);
/// `largest`, or as many filters (at least one) as have a gigabyte of frames.
int limit_by_frames(int largest, const Recipe& recipe, const RenderOptions& options);

}  // namespace filterscope
