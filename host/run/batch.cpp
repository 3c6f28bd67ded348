#include "batch.h"

#include <algorithm>
#include <cassert>
#include <utility>

namespace filterscope {

BatchLayout::BatchLayout(std::vector<int> targeting) : targeting_(std::move(targeting)) {
  while (!targeting_.empty() && targeting_.back() == 0) targeting_.pop_back();
  assert(!targeting_.empty());
  continuing_past_.resize(targeting_.size());
  int above = 0;
  for (int layer = deepest_layer(); layer >= 0; --layer) {
    continuing_past_[layer] = above;
    above += targeting_[layer];
  }
}

int BatchLayout::layer_of(int image) const {
  int layer = 0;
  while (image < continuing_past(layer)) ++layer;
  return layer;
}

std::ptrdiff_t Batch::filter_count() const {
  return std::ssize(indices) - std::ranges::count(indices, kPadding);
}

}  // namespace filterscope
