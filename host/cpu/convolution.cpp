#include "convolution.h"

#include <algorithm>
#include <vector>

#include "../base/threads.h"

namespace filterscope::cpu {

namespace {

int blocks_of(int channels) {
  return MapShape{channels, 1, 1}.blocks();
}

int points_of(int tile) {
  return TileGrid{tile, 1, 1}.points();
}

// The pieces of work given to threads: tiles of one channel block, and output blocks of one point.
constexpr int kTilePiece = 16;
constexpr int kBlockPiece = 8;

}  // namespace

TransformedWeights::TransformedWeights(const LayerWeights& weights, int in_channels, int out_channels,
                                       Pass pass, int tile, const Kernels& table) {
  const bool forward = pass == Pass::forward;
  const int from_channels = forward ? in_channels : out_channels;
  const int to_channels = forward ? out_channels : in_channels;
  in_blocks_ = blocks_of(from_channels);
  out_blocks_ = blocks_of(to_channels);
  const int points = points_of(tile);
  const std::size_t point_stride = static_cast<std::size_t>(in_blocks_) * out_blocks_ * kLanes * kLanes;
  values_ = AlignedBuffer<float>(points * point_stride);
  // A backward pass is a forward one with the kernel rotated by 180 degrees and its channels transposed.
  const auto tap = [&](std::size_t at, std::size_t from, std::size_t to) {
    return forward ? weights.kernel[(at * in_channels + from) * out_channels + to]
                   : weights.kernel[((8 - at) * in_channels + to) * out_channels + from];
  };
  parallel_for(out_blocks_, in_blocks_ * kLanes, [&](int out_block, int in) {
    float taps[9 * kLanes] = {};
    if (in < from_channels) {
      const int lanes = std::min(kLanes, to_channels - out_block * kLanes);
      for (int at = 0; at < 9; ++at) {
        for (int lane = 0; lane < lanes; ++lane)
          taps[at * kLanes + lane] = tap(at, in, out_block * kLanes + lane);
      }
    }
    table.transform_weights(
        tile, taps,
        values_.data() + (static_cast<std::size_t>(out_block) * in_blocks_ * kLanes + in) * kLanes,
        point_stride);
  });
  if (forward) {
    bias_ = AlignedBuffer<float>(static_cast<std::size_t>(out_blocks_) * kLanes);
    std::ranges::fill(bias_.span(), 0.f);
    std::ranges::copy(weights.bias, bias_.data());
  }
}

const float* TransformedWeights::at(int point, int out_block) const {
  return values_.data() +
         (static_cast<std::size_t>(point) * out_blocks_ + out_block) * in_blocks_ * kLanes * kLanes;
}

std::size_t TransformedWeights::bytes(int in_channels, int out_channels, int tile) {
  return sizeof(float) * points_of(tile) * blocks_of(in_channels) * blocks_of(out_channels) * kLanes * kLanes;
}

std::size_t workspace_floats(const MapShape& in, const MapShape& out, const Tiling& tiling) {
  return static_cast<std::size_t>(points_of(tiling.tile)) *
         (TransformedTiles::stride(tiling.slots, in.blocks()) +
          TransformedTiles::stride(tiling.slots, out.blocks()));
}

void Workspace::reserve(std::size_t per_thread, std::size_t together, int threads) {
  per_thread_ = std::max(per_thread_, per_thread);
  const std::size_t needed = std::max(per_thread_ * threads, together);
  if (values_.size() < needed) values_ = AlignedBuffer<float>(needed);
}

WinogradConvolution::WinogradConvolution(const MapShape& in, const MapShape& out, const Tiling& tiling,
                                         std::shared_ptr<const TransformedWeights> weights,
                                         const Kernels& table)
    : in_(in),
      out_(out),
      tiling_(tiling),
      grid_{tiling.tile, in.height, in.width},
      weights_(std::move(weights)),
      kernels_(table) {}

void WinogradConvolution::reserve(Workspace& workspace, int threads) const {
  const std::size_t floats = workspace_floats(in_, out_, tiling_);
  workspace.reserve(tiling_.shared ? 0 : floats, tiling_.shared ? floats : 0, threads);
}

template <typename Input, typename Output>
void WinogradConvolution::run(int images, const Input& input, const Output& output,
                              Workspace& workspace) const {
  const int tiles = images * grid_.per_map();
  const int pieces = (tiles + tiling_.slots - 1) / tiling_.slots;
  const int points = grid_.points();
  const int in_blocks = in_.blocks();
  const int out_blocks = out_.blocks();
  const auto inputs_at = [&](float* values) {
    return TransformedTiles{values, tiling_.slots, TransformedTiles::stride(tiling_.slots, in_blocks)};
  };
  const auto products_at = [&](float* values) {
    return TransformedTiles{values + points * TransformedTiles::stride(tiling_.slots, in_blocks),
                            tiling_.slots, TransformedTiles::stride(tiling_.slots, out_blocks)};
  };
  const auto first_of = [&](int piece) {
    return static_cast<int>(static_cast<std::int64_t>(tiles) * piece / pieces);
  };
  if (!tiling_.shared) {
    parallel_for(pieces, [&](int piece) {
      float* const values = workspace.of_thread(thread_number());
      const TransformedTiles inputs = inputs_at(values);
      const TransformedTiles products = products_at(values);
      const int first = first_of(piece);
      const int count = first_of(piece + 1) - first;
      for (int block = 0; block < in_blocks; ++block) input(TileRange{first, block, 0, count}, inputs);
      for (int point = 0; point < points; ++point) {
        kernels_.multiply(inputs.at(point, 0, 0), tiling_.slots, count, in_blocks, weights_->at(point, 0),
                          out_blocks, products.at(point, 0, 0));
      }
      for (int block = 0; block < out_blocks; ++block) output(TileRange{first, block, 0, count}, products);
    });
    return;
  }
  const TransformedTiles inputs = inputs_at(workspace.together());
  const TransformedTiles products = products_at(workspace.together());
  for (int piece = 0; piece < pieces; ++piece) {
    const int first = first_of(piece);
    const int count = first_of(piece + 1) - first;
    const int tile_pieces = (count + kTilePiece - 1) / kTilePiece;
    const int block_pieces = (out_blocks + kBlockPiece - 1) / kBlockPiece;
    const auto tiles_at = [&](int block, int at) {
      return TileRange{first, block, at * kTilePiece, std::min(count, (at + 1) * kTilePiece)};
    };
    parallel_for(in_blocks, tile_pieces, [&](int block, int at) { input(tiles_at(block, at), inputs); });
    parallel_for(points, block_pieces, [&](int point, int at) {
      const int out_block = at * kBlockPiece;
      kernels_.multiply(inputs.at(point, 0, 0), tiling_.slots, count, in_blocks,
                        weights_->at(point, out_block), std::min(kBlockPiece, out_blocks - out_block),
                        products.at(point, out_block, 0));
    });
    parallel_for(out_blocks, tile_pieces, [&](int block, int at) { output(tiles_at(block, at), products); });
  }
}

void WinogradConvolution::forward(int images, const float* maps, float* results, std::uint8_t* masks,
                                  Workspace& workspace) const {
  run(
      images,
      [&](const TileRange& tiles, const TransformedTiles& to) {
        kernels_.transform_input(grid_, tiles, in_.blocks(), maps, to);
      },
      [&](const TileRange& tiles, const TransformedTiles& from) {
        kernels_.transform_output(grid_, tiles, out_.blocks(), from, weights_->bias() + tiles.block * kLanes,
                                  results, masks);
      },
      workspace);
}

void WinogradConvolution::forward_pool(int images, const float* maps, float* pooled, std::uint8_t* argmax,
                                       Workspace& workspace) const {
  run(
      images,
      [&](const TileRange& tiles, const TransformedTiles& to) {
        kernels_.transform_input(grid_, tiles, in_.blocks(), maps, to);
      },
      [&](const TileRange& tiles, const TransformedTiles& from) {
        kernels_.transform_output_pool(grid_, tiles, out_.blocks(), from,
                                       weights_->bias() + tiles.block * kLanes, pooled, argmax);
      },
      workspace);
}

void WinogradConvolution::backward(int images, const float* gradients, float* results,
                                   const std::uint8_t* masks, Workspace& workspace) const {
  run(
      images,
      [&](const TileRange& tiles, const TransformedTiles& to) {
        kernels_.transform_input(grid_, tiles, in_.blocks(), gradients, to);
      },
      [&](const TileRange& tiles, const TransformedTiles& from) {
        kernels_.transform_output_gradient(grid_, tiles, out_.blocks(), from, masks, results);
      },
      workspace);
}

void WinogradConvolution::backward_pool(int images, const float* pooled_gradients, const std::uint8_t* argmax,
                                        float* results, const std::uint8_t* masks,
                                        Workspace& workspace) const {
  run(
      images,
      [&](const TileRange& tiles, const TransformedTiles& to) {
        kernels_.transform_pool_gradient(grid_, tiles, in_.blocks(), pooled_gradients, argmax, to);
      },
      [&](const TileRange& tiles, const TransformedTiles& from) {
        kernels_.transform_output_gradient(grid_, tiles, out_.blocks(), from, masks, results);
      },
      workspace);
}

}  // namespace filterscope::cpu
