#include "plan.h"

#include <fmt/format.h>

#include <algorithm>

#include "../base/threads.h"
#include "kernels.h"

namespace filterscope::cpu {

namespace {

// The bytes that a block's largest map may take for the images of a chunk: two such maps and the tiles stay
// in the last-level cache, which grows with the number of cores.
constexpr std::size_t kChunkBytesPerThread = std::size_t{3} << 19;
// A chunk has at least as many images as give this many tiles; otherwise reading the weights takes longer
// than multiplying.
constexpr int kChunkTiles = 64;
// Transformed weights up to this size are read by each thread separately, larger ones by all threads
// together.
constexpr std::size_t kOwnWeightBytes = std::size_t{5} << 20;
// The bytes of transformed inputs and products: one thread's fit in its cache, those of all threads in the
// last-level cache.
constexpr std::size_t kThreadTileBytes = std::size_t{1} << 20;
constexpr std::size_t kSharedTileBytes = std::size_t{17} << 20;
// Reading a transformed weight from memory takes as long as multiplying with it for this many tiles.
constexpr double kTilesPerWeight = 20;
constexpr int kLargestTile = 6;
// The number of images that a fixed plan assumes.
constexpr int kFixedImages = 16;

}  // namespace

std::string Plan::describe(const Network& network) const {
  std::string tiles;
  for (const BlockPlan& block : blocks) {
    for (const WinogradConvolution& convolution : block.forward) {
      tiles += fmt::format(" {}", convolution.tiling().tile);
    }
  }
  return fmt::format("{}: winograd{}, kernels {}", network.convolutions[target_layer].name,
                     tiles.empty() ? " none" : tiles, kernels().name);
}

Tiling make_tiling(int tile, const MapShape& below, const MapShape& map, int images) {
  const TileGrid grid{tile, map.height, map.width};
  const std::size_t points = grid.points() * sizeof(float);
  const std::size_t weight_bytes = points * below.blocks() * map.blocks() * kLanes * kLanes;
  const std::size_t slot_bytes = points * (below.blocks() + map.blocks()) * kLanes;
  const bool shared = weight_bytes > kOwnWeightBytes;
  const int tiles = grid.per_map() * images;
  const int most =
      std::clamp(static_cast<int>((shared ? kSharedTileBytes : kThreadTileBytes) / slot_bytes), 1, tiles);
  // Pieces of equal size, equally many per thread.
  int pieces = (tiles + most - 1) / most;
  const int threads = thread_count();
  if (!shared) pieces = (pieces + threads - 1) / threads * threads;
  return {tile, (tiles + pieces - 1) / pieces, shared};
}

Planner::Planner(const Network& network, const Weights& weights, Extent image, PlanRule rule,
                 std::shared_ptr<TransformedLayers> transformed)
    : network_(network),
      weights_(weights),
      image_(image),
      rule_(rule),
      transformed_(std::move(transformed)) {}

MapShape Planner::map_shape(int layer) const {
  if (layer < 0) return {network_.convolutions[0].in_channels, image_.height, image_.width};
  const Extent extent = network_.map_extent(layer, image_);
  return {network_.convolutions[layer].out_channels, extent.height, extent.width};
}

MapShape Planner::input_shape(int layer) const {
  const MapShape map = map_shape(layer);
  return {network_.convolutions[layer].in_channels, map.height, map.width};
}

int Planner::choose_chunk(int first_layer, int end_layer, int images) const {
  int wanted = images;
  if (first_layer < end_layer) {
    std::size_t largest = 0;
    int least_tiles = kChunkTiles;
    for (int layer = first_layer; layer < end_layer; ++layer) {
      const MapShape map = map_shape(layer);
      largest = std::max(largest, map.size() * sizeof(float));
      least_tiles = std::min(least_tiles, TileGrid{kLargestTile, map.height, map.width}.per_map());
    }
    const int in_cache = static_cast<int>(kChunkBytesPerThread * thread_count() / largest);
    wanted = std::clamp(std::max(in_cache, kChunkTiles / least_tiles), 1, images);
  }
  const int chunks = (images + wanted - 1) / wanted;
  return (images + chunks - 1) / chunks;  // Chunks of equal size.
}

// Larger tiles need fewer products per output, but more weights, and more of them extend beyond the border.
int Planner::choose_tile(int layer, int images) const {
  const MapShape map = map_shape(layer);
  const auto cost = [&](int tile) {
    const TileGrid grid{tile, map.height, map.width};
    return grid.points() * (kTilesPerWeight + static_cast<double>(grid.per_map()) * images);
  };
  return rule_ == PlanRule::smallest ? 2 : std::ranges::min({2, 4, kLargestTile}, {}, cost);
}

Tiling Planner::choose_tiling(int layer, int images) const {
  const int tile = choose_tile(layer, rule_ == PlanRule::fixed ? kFixedImages : images);
  return make_tiling(tile, input_shape(layer), map_shape(layer), images);
}

std::vector<BlockOutline> Planner::outline(int target_layer, int images) const {
  std::vector<BlockOutline> blocks;
  int first = 0;
  while (true) {
    int end = first;
    while (end < target_layer && !network_.convolutions[end].pool_after) ++end;
    const bool pooled = end < target_layer;
    if (pooled) ++end;
    BlockOutline block{first, end, choose_chunk(first, end, images), {}};
    for (int layer = first; layer < end; ++layer) block.tilings.push_back(choose_tiling(layer, block.chunk));
    blocks.push_back(std::move(block));
    first = end;
    if (!pooled) return blocks;
  }
}

Plan Planner::make(int target_layer, int images) {
  TransformedLayers used;
  const auto transformed = [&](int layer, Pass pass, int tile) {
    const WeightsKey key{layer, pass, tile};
    const auto known = transformed_->find(key);
    const Convolution& convolution = network_.convolutions[layer];
    return used[key] = known != transformed_->end() ? known->second
                                                    : std::make_shared<TransformedWeights>(
                                                          *weights_.layers[layer], convolution.in_channels,
                                                          convolution.out_channels, pass, tile);
  };
  Plan plan{.target_layer = target_layer, .images = images, .blocks = {}};
  for (const BlockOutline& outlined : outline(target_layer, images)) {
    BlockPlan block{.first_layer = outlined.first_layer,
                    .end_layer = outlined.end_layer,
                    .chunk = outlined.chunk,
                    .forward = {},
                    .backward = {}};
    for (int layer = block.first_layer; layer < block.end_layer; ++layer) {
      const MapShape map = map_shape(layer);
      const MapShape below = input_shape(layer);
      const Tiling& tiling = outlined.tilings[layer - block.first_layer];
      block.forward.emplace_back(below, map, tiling, transformed(layer, Pass::forward, tiling.tile));
      block.backward.emplace_back(map, below, tiling, transformed(layer, Pass::backward, tiling.tile));
    }
    plan.blocks.push_back(std::move(block));
  }
  *transformed_ = std::move(used);
  return plan;
}

}  // namespace filterscope::cpu
