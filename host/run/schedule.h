#pragma once

#include <cstddef>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "../ascent/recipe.h"
#include "batch.h"
#include "filter_result.h"
#include "render_options.h"

namespace filterscope {

/// Which filters may share a batch.
enum class BatchForm {
  one_layer,     ///< Those of one layer; a layer's batches are as equal in size as possible, without padding.
  mixed_layers,  ///< Those of all layers: every batch has the same layout, the same share of each layer.
  fixed,         ///< Those of one layer, always the same number of images, however many filters there are:
                 ///< what is computed for a filter does not depend on the selection.
};

/// What an engine says about the batches it takes, before any is made.
struct BatchLimits {
  BatchForm form = BatchForm::one_layer;
  int images = 1;      ///< The most images of a batch; with BatchForm::fixed the number of every batch.
  std::string reason;  ///< Why that many, a phrase: "enough for 2 threads".
  /// Bytes of memory that a batch may take. Nothing: whatever `images` needs.
  std::optional<std::size_t> memory;
};

/// A run's filters as batches.
struct Schedule {
  std::vector<BatchGroup> groups;
  BatchForm form = BatchForm::one_layer;
  int images = 0;      ///< The limit that the batches were cut to.
  std::string reason;  ///< What set it, a phrase: "--batch", "1,234 MB of free memory".
};

/// Cuts `filters` (ascending, each once) into as few batches of at most `images` images as possible. Where
/// batches are padded, the last one of a group has the fewest filters, since nothing hides the wait for its
/// pictures. BatchForm::mixed_layers needs an image for each layer: with fewer, the first layers get padded
/// batches of their own, until there are few enough layers left.
std::vector<BatchGroup> cut_batches(std::span<const FilterId> filters, BatchForm form, int images);

/// Bytes of one batch of a layout.
using BatchBytes = std::function<std::size_t(const BatchLayout&)>;

/// The batches of one run, each as large as `limits` allow, as memory holds (`bytes_of`), and with at most 1
/// GB of frames; RenderOptions::batch overrides all of these.
Schedule make_schedule(std::span<const FilterId> filters, const Recipe& recipe, const RenderOptions& options,
                       const BatchLimits& limits, const BatchBytes& bytes_of);

/// Bytes of one filter's frames; 0 where none are taken.
std::size_t frame_bytes(const Recipe& recipe, const RenderOptions& options);

}  // namespace filterscope
