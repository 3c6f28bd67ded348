#pragma once

#include <map>
#include <memory>
#include <string>
#include <tuple>
#include <vector>

#include "../model/network.h"
#include "../model/weights/weights.h"
#include "convolution.h"
#include "map.h"

namespace filterscope::cpu {

/// The layers between two pools, run depth first: `chunk` images go through all of them before the next chunk
/// starts, so that large maps stay in cache; small maps take more images at a time, to reuse the weights.
struct BlockPlan {
  int first_layer;
  int end_layer;  ///< One past the last layer whose channels are all computed; the target layer's head is not
                  ///< part of a plan.
  int chunk;
  std::vector<WinogradConvolution> forward;  ///< For layers first_layer .. end_layer - 1.
  std::vector<WinogradConvolution> backward;
};

/// A block of layers without their weights, from which a BlockPlan is made.
struct BlockOutline {
  int first_layer;
  int end_layer;
  int chunk;
  std::vector<Tiling> tilings;  ///< For layers first_layer .. end_layer - 1.
};

/// How one batch of images with the same target layer is computed. The bits of a result depend only on the
/// tiles.
struct Plan {
  int target_layer;
  int images;
  std::vector<BlockPlan>
      blocks;  ///< Ascending; the last one is the block of the target layer and may be empty.

  /// Everything that fixes the bits, as text: the tile of each layer and the kernels, but not the number of
  /// images.
  std::string describe(const Network& network) const;
};

/// How a plan is chosen.
enum class PlanRule {
  automatic,  ///< The fastest tiles for the number of images.
  fixed,      ///< Tiles that do not depend on the number of images.
  smallest,   ///< The smallest tiles: slower, and closer to exact arithmetic.
};

/// How the calling thread's team processes the tiles of one convolution of `images` images. `below` and `map`
/// are the layer's input and output maps.
Tiling make_tiling(int tile, const MapShape& below, const MapShape& map, int images);

/// Makes plans by one rule, for the threads of the calling thread's team, and the transformed weights they
/// need. Nothing is timed: the same arguments give the same plan.
class Planner {
 public:
  using WeightsKey = std::tuple<int, Pass, int>;  // layer, pass, tile
  /// Transformed weights do not depend on the image's size: planners for several sizes can share them.
  using TransformedLayers = std::map<WeightsKey, std::shared_ptr<const TransformedWeights>>;

  /// `image` is what the network sees.
  Planner(const Network& network, const Weights& weights, Extent image, PlanRule rule,
          std::shared_ptr<TransformedLayers> transformed = std::make_shared<TransformedLayers>());

  /// The blocks of the plan that make() would return.
  std::vector<BlockOutline> outline(int target_layer, int images) const;

  /// Transformed weights are kept until the next call, also of a planner that shares them, which reuses those
  /// that it also needs.
  Plan make(int target_layer, int images);

  /// The map that `layer` computes; for layer -1, the network's input.
  MapShape map_shape(int layer) const;
  /// The map that `layer` convolves, of the same extent as map_shape().
  MapShape input_shape(int layer) const;

 private:
  int choose_chunk(int first_layer, int end_layer, int images) const;
  Tiling choose_tiling(int layer, int images) const;
  int choose_tile(int layer, int images) const;

  const Network& network_;
  const Weights& weights_;
  Extent image_;
  PlanRule rule_;
  std::shared_ptr<TransformedLayers> transformed_;
};

}  // namespace filterscope::cpu
