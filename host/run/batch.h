#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "../model/network.h"

namespace filterscope {

/// How the images of a batch pass through the network. Images of several target layers can be ascended
/// together: an image runs through the layers below its target, its pass ends at that layer, and its gradient
/// starts there on the way back. Images are ordered by target layer, the deepest first, so that at every
/// layer the images continuing past it are the first ones, without gaps, and those targeting it follow.
class BatchLayout {
 public:
  /// targeting[l]: images that target layer l; at least one image in all. Trailing zeros are dropped.
  explicit BatchLayout(std::vector<int> targeting);

  int images() const { return targeting(0) + continuing_past(0); }
  int deepest_layer() const { return static_cast<int>(targeting_.size()) - 1; }  ///< Target of image 0.
  /// Images whose target layer is above `layer`: numbers 0 to continuing_past(layer) - 1.
  int continuing_past(int layer) const { return continuing_past_[layer]; }
  /// Images whose target is `layer`, the ones after those that continue past it.
  int targeting(int layer) const { return targeting_[layer]; }
  /// Target layer of an image.
  int layer_of(int image) const;

  bool operator==(const BatchLayout&) const = default;

 private:
  std::vector<int> targeting_;
  std::vector<int> continuing_past_;
};

/// One batch: a filter for each image of its layout.
struct Batch {
  static constexpr std::int64_t kPadding = -1;
  std::vector<FilterId> filters;  ///< [images]
  /// [images] Index into the filters that the schedule was made for. kPadding where the layer has run out of
  /// filters: the image repeats a filter of its layer, and its result is dropped.
  std::vector<std::int64_t> indices;

  /// Images that are not padding.
  std::ptrdiff_t filter_count() const;
};

/// Batches of one layout, to be ascended in this order: memory and plan can serve all of them.
struct BatchGroup {
  BatchLayout layout;
  std::vector<Batch> batches;
};

}  // namespace filterscope
