#include "network_passes.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "../base/threads.h"

namespace filterscope::cpu {

namespace {

constexpr int kHeadTile = 4;         // Rows.
constexpr int kImageTile = 1 << 12;  // Positions.

// Copies the weights of one filter from [3, 3, in, out] to the layout of `shape`: [blocks][9][kLanes].
void arrange_filter(const LayerWeights& weights, int out_channels, int filter, const MapShape& shape,
                    float* to) {
  for (int block = 0; block < shape.blocks(); ++block) {
    for (int tap = 0; tap < 9; ++tap) {
      for (int in = block * kLanes; in < (block + 1) * kLanes; ++in) {
        *to++ =
            in < shape.channels
                ? weights
                      .kernel[(static_cast<std::size_t>(tap) * shape.channels + in) * out_channels + filter]
                : 0.f;
      }
    }
  }
}

}  // namespace

NetworkPasses::NetworkPasses(const Network& network, const Weights& weights, const Stage& stage,
                             const Planner& planner, Plan plan, std::span<const int> filters)
    : network_(network), mapping_(stage.input_mapping), objective_(stage.objective), plan_(std::move(plan)) {
  const int target = plan_.target_layer;
  const int threads = thread_count();
  std::size_t largest_chunk = 0;
  for (std::size_t b = 0; b < plan_.blocks.size(); ++b) {
    const BlockPlan& block = plan_.blocks[b];
    const MapShape input = b == 0 ? planner.map_shape(-1) : planner.map_shape(block.first_layer - 1).pooled();
    boundaries_.push_back(
        {input, AlignedBuffer<float>(input.size() * (b == 0 ? block.chunk : plan_.images))});
    for (int layer = block.first_layer; layer < block.end_layer; ++layer) {
      const MapShape shape = planner.map_shape(layer);
      const bool pooled = network_.convolutions[layer].pool_after;
      mask_stride_.push_back(pooled ? shape.pooled().size() : shape.size() / 8);
      masks_.emplace_back(mask_stride_.back() * plan_.images);
      largest_chunk = std::max(largest_chunk, shape.size() * block.chunk);
      plan_.blocks[b].forward[layer - block.first_layer].reserve(workspace_, threads);
      plan_.blocks[b].backward[layer - block.first_layer].reserve(workspace_, threads);
    }
  }
  for (AlignedBuffer<float>& maps : scratch_maps_) maps = AlignedBuffer<float>(largest_chunk);

  head_below_relu_ = target > 0 && !network_.convolutions[target - 1].pool_after;
  head_shape_ = head_below_relu_ ? planner.map_shape(target - 1) : boundaries_.back().shape;
  window_ = counted_positions(objective_, {head_shape_.height, head_shape_.width});
  responses_ = AlignedBuffer<float>(head_shape_.positions() * plan_.images);
  const std::size_t filter_size = 9 * static_cast<std::size_t>(head_shape_.blocks()) * kLanes;
  head_weights_ = AlignedBuffer<float>(filter_size * plan_.images);
  for (int image = 0; image < plan_.images; ++image) {
    arrange_filter(*weights.layers[target], network_.convolutions[target].out_channels, filters[image],
                   head_shape_, head_weights_.data() + filter_size * image);
    head_bias_.push_back(weights.layers[target]->bias[filters[image]]);
  }
  thread_scratch_size_ = static_cast<std::size_t>(head_shape_.width) * kLanes;
  thread_scratch_ = AlignedBuffer<float>(thread_scratch_size_ * threads);
}

bool NetworkPasses::loss_and_gradient(const float* images, double* losses, float* gradients,
                                      const std::stop_token& stop) {
  return run(images, losses, gradients, stop);
}

void NetworkPasses::loss(const float* images, double* losses) {
  run(images, losses, nullptr, {});
}

int NetworkPasses::images_in_chunk(const BlockPlan& block, int first) const {
  return std::min(block.chunk, plan_.images - first);
}

bool NetworkPasses::run(const float* images, double* losses, float* gradients, const std::stop_token& stop) {
  const std::size_t top = plan_.blocks.size() - 1;
  for (std::size_t b = 0; b <= top; ++b) {
    const BlockPlan& block = plan_.blocks[b];
    for (int first = 0; first < plan_.images; first += block.chunk) {
      if (stop.stop_requested()) return false;
      const int count = images_in_chunk(block, first);
      if (b == 0) load_input(images, first, count);
      forward_block(b, first, count);
      if (b < top) continue;
      // The top block turns round at once, while its maps are in cache.
      const int layers = block.end_layer - block.first_layer;
      float* const below = boundary_maps(b, first);
      float* const maps = layers > 0 ? scratch_maps_[(layers - 1) % 2].data() : below;
      head(first, count, maps, losses);
      if (gradients == nullptr) continue;
      float* const gradient = layers > 0 ? other(maps) : below;
      head_gradient(first, count, maps, gradient);
      backward_block(b, first, count, gradient);
      if (b == 0) store_gradient(first, count, gradients);
    }
  }
  if (gradients == nullptr) return true;
  for (std::size_t b = top; b-- > 0;) {
    const BlockPlan& block = plan_.blocks[b];
    for (int first = 0; first < plan_.images; first += block.chunk) {
      if (stop.stop_requested()) return false;
      const int count = images_in_chunk(block, first);
      backward_block(b, first, count, boundaries_[b + 1].at(first));
      if (b == 0) store_gradient(first, count, gradients);
    }
  }
  return true;
}

void NetworkPasses::load_input(const float* images, int first, int count) {
  const std::size_t positions = boundaries_[0].shape.positions();
  parallel_tiles(count, static_cast<int>(positions), kImageTile, [&](int image, int begin, int end) {
    const float* from = images + image_size() * (first + image);
    float* to = boundaries_[0].at(image) + static_cast<std::size_t>(begin) * kLanes;
    std::fill_n(to, static_cast<std::size_t>(end - begin) * kLanes, 0.f);
    for (std::size_t i = begin; i < static_cast<std::size_t>(end); ++i, to += kLanes) {
      for (int channel = 0; channel < 3; ++channel) {
        to[channel] =
            mapping_.scale[channel] * from[i * 3 + mapping_.source[channel]] + mapping_.offset[channel];
      }
    }
  });
}

// The first boundary holds the chunk's gradient with respect to the network's input.
void NetworkPasses::store_gradient(int first, int count, float* gradients) {
  const std::size_t positions = boundaries_[0].shape.positions();
  parallel_tiles(count, static_cast<int>(positions), kImageTile, [&](int image, int begin, int end) {
    const float* from = boundaries_[0].at(image) + static_cast<std::size_t>(begin) * kLanes;
    float* to = gradients + image_size() * (first + image);
    std::fill_n(to + static_cast<std::size_t>(begin) * 3, static_cast<std::size_t>(end - begin) * 3, 0.f);
    for (std::size_t i = begin; i < static_cast<std::size_t>(end); ++i, from += kLanes) {
      for (int channel = 0; channel < 3; ++channel) {
        to[i * 3 + mapping_.source[channel]] += mapping_.scale[channel] * from[channel];
      }
    }
  });
}

// Writes the block's output to the next boundary, or, in the top block, to scratch_maps_[(layers - 1) % 2].
void NetworkPasses::forward_block(std::size_t b, int first, int count) {
  const BlockPlan& block = plan_.blocks[b];
  const float* source = boundary_maps(b, first);
  float* destination = scratch_maps_[0].data();
  for (int layer = block.first_layer; layer < block.end_layer; ++layer) {
    const WinogradConvolution& convolution = block.forward[layer - block.first_layer];
    if (network_.convolutions[layer].pool_after) {
      convolution.forward_pool(count, source, boundaries_[b + 1].at(first), masks_of(layer, first),
                               workspace_);
      return;
    }
    // The head uses the map itself as its mask.
    const bool masked = layer + 1 < plan_.target_layer;
    convolution.forward(count, source, destination, masked ? masks_of(layer, first) : nullptr, workspace_);
    source = destination;
    destination = other(destination);
  }
}

// `gradient` is that of one chunk: with respect to the block's last pre-activation in the top block,
// otherwise to the pooled maps. Writes the gradient at the boundary below.
void NetworkPasses::backward_block(std::size_t b, int first, int count, const float* gradient) {
  const BlockPlan& block = plan_.blocks[b];
  for (int layer = block.end_layer - 1; layer >= block.first_layer; --layer) {
    const WinogradConvolution& convolution = block.backward[layer - block.first_layer];
    const bool at_boundary = layer == block.first_layer;
    float* const below = at_boundary ? boundary_maps(b, first) : other(gradient);
    const std::uint8_t* const masks = at_boundary ? nullptr : masks_of(layer - 1, first);
    if (network_.convolutions[layer].pool_after) {
      convolution.backward_pool(count, gradient, masks_of(layer, first), below, masks, workspace_);
    } else {
      convolution.backward(count, gradient, below, masks, workspace_);
    }
    gradient = below;
  }
}

bool NetworkPasses::whole_map() const {
  return window_.positions() == static_cast<std::int64_t>(head_shape_.positions());
}

double NetworkPasses::window_sum(const float* response) const {
  double sum = 0;
  for (int y = window_.top; y < window_.bottom; ++y) {
    const float* const row = response + static_cast<std::size_t>(y) * head_shape_.width;
    for (int x = window_.left; x < window_.right; ++x) sum += row[x];
  }
  return sum;
}

void NetworkPasses::clear_outside(float* response) const {
  for (int y = 0; y < head_shape_.height; ++y) {
    for (int x = 0; x < head_shape_.width; ++x, ++response)
      if (!window_.contains(y, x)) *response = 0.f;
  }
}

void NetworkPasses::head(int first, int count, const float* maps, double* losses) {
  const MapShape& shape = head_shape_;
  const std::size_t positions = shape.positions();
  const std::size_t filter_size = 9 * static_cast<std::size_t>(shape.blocks()) * kLanes;
  const float least = objective_.before_relu ? -std::numeric_limits<float>::infinity() : 0.f;
  parallel_tiles(count, shape.height, kHeadTile, [&](int image, int begin, int end) {
    kernels_.head_forward(shape, maps + shape.size() * image,
                          head_weights_.data() + filter_size * (first + image), head_bias_[first + image],
                          least, responses_.data() + positions * (first + image),
                          thread_scratch_.data() + thread_scratch_size_ * thread_number(), begin, end);
  });
  parallel_tiles(count, 1, 1, [&](int image, int, int) {
    float* response = responses_.data() + positions * (first + image);
    const double sum = window_sum(response);
    losses[first + image] = sum / static_cast<double>(window_.positions());
    // For the mean before the ReLU, every position is active.
    if (objective_.before_relu || (objective_.rescue && sum == 0)) std::fill_n(response, positions, 1.f);
    if (!whole_map()) clear_outside(response);
  });
}

void NetworkPasses::head_gradient(int first, int count, const float* maps, float* gradient) {
  const MapShape& shape = head_shape_;
  const std::size_t positions = shape.positions();
  const std::size_t filter_size = 9 * static_cast<std::size_t>(shape.blocks()) * kLanes;
  const float scale = (objective_.minimise ? -1.f : 1.f) / static_cast<float>(window_.positions());
  parallel_tiles(count, shape.height, kHeadTile, [&](int image, int begin, int end) {
    kernels_.head_backward(shape, responses_.data() + positions * (first + image), scale,
                           head_weights_.data() + filter_size * (first + image),
                           head_below_relu_ ? maps + shape.size() * image : nullptr,
                           gradient + shape.size() * image,
                           thread_scratch_.data() + thread_scratch_size_ * thread_number(), begin, end);
  });
}

std::size_t passes_bytes(const Network& network, const Planner& planner, int target_layer, int images) {
  const int threads = thread_count();
  std::size_t floats = 0;
  std::size_t bytes = 0;
  std::size_t largest_chunk = 0;
  std::size_t workspace = 0;
  MapShape head_input{};
  for (const BlockOutline& block : planner.outline(target_layer, images)) {
    head_input =
        block.first_layer == 0 ? planner.map_shape(-1) : planner.map_shape(block.first_layer - 1).pooled();
    floats += head_input.size() * (block.first_layer == 0 ? block.chunk : images);
    for (int layer = block.first_layer; layer < block.end_layer; ++layer) {
      const MapShape shape = planner.map_shape(layer);
      const bool pooled = network.convolutions[layer].pool_after;
      if (!pooled) head_input = shape;
      bytes += (pooled ? shape.pooled().size() : shape.size() / 8) * images;
      largest_chunk = std::max(largest_chunk, shape.size() * block.chunk);
      const Tiling& tiling = block.tilings[layer - block.first_layer];
      const MapShape below = planner.input_shape(layer);
      workspace = std::max(workspace, workspace_floats(below, shape, tiling) * (tiling.shared ? 1 : threads));
      bytes += 2 * TransformedWeights::bytes(below.channels, shape.channels, tiling.tile);
    }
  }
  floats += 2 * largest_chunk + workspace;
  const std::size_t filter_size = 9 * static_cast<std::size_t>(head_input.blocks()) * kLanes;
  floats += (head_input.positions() + filter_size) * images;
  return bytes + sizeof(float) * floats;
}

}  // namespace filterscope::cpu
