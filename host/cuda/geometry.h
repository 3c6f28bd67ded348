#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "../model/network.h"
#include "../run/selection.h"

namespace filterscope::cuda {

/// How the images of a batch share the passes. Images of several layers are ascended together; each leaves
/// the passes at its own target layer and joins it there on the way back. They are ordered by target layer,
/// the deepest first, so that at every layer those still in the passes are the first ones, without gaps.
class Geometry {
 public:
  /// targets[l]: images whose target is layer l; at least one image in all. Trailing zeros are dropped.
  explicit Geometry(std::vector<int> targets);

  int images() const { return leaving(0) + passing(0); }
  int deepest() const { return static_cast<int>(targets_.size()) - 1; }  ///< Target layer of the first image.
  /// Images that `layer` computes in full: those with a target above it.
  int passing(int layer) const { return passing_[layer]; }
  /// Images whose target `layer` is: numbers passing(layer) to passing(layer) + leaving(layer) - 1.
  int leaving(int layer) const { return targets_[layer]; }
  /// Target layer of an image.
  int layer_of(int image) const;

  bool operator==(const Geometry&) const = default;

 private:
  std::vector<int> targets_;
  std::vector<int> passing_;
};

/// One batch: for each image of the geometry the filter, or, where a layer has run out of filters, none: then
/// the image's place is filled with a filter of its layer whose result nobody takes.
struct Assignment {
  static constexpr std::int64_t kNone = -1;
  std::vector<FilterId> filters;       ///< [images]
  std::vector<std::int64_t> selected;  ///< [images] Index into the filters to render, or kNone.
};

/// A geometry and the batches that it serves.
struct BatchPlan {
  Geometry geometry;
  std::vector<Assignment> batches;
};

/// Cuts `filters` (ascending) into as few batches of at most `largest` images as can be, all of one geometry,
/// each with about the same share of every layer; the last one, whose pictures are waited for when the device
/// is done, has the fewest. Where `largest` is less than the number of layers among the filters, each layer
/// gets a plan of its own.
std::vector<BatchPlan> plan_batches(std::span<const FilterId> filters, int layer_count, int largest);

/// For results that do not depend on the selection: one plan per layer, batches of exactly `size` images of
/// that layer.
std::vector<BatchPlan> plan_fixed_batches(std::span<const FilterId> filters, int layer_count, int size);

}  // namespace filterscope::cuda
