#include "stack.h"

#include <omp.h>

#include <algorithm>
#include <utility>

#include "parallel.h"

namespace filterscope::cpu {

namespace {

constexpr int kMaskTile = 1 << 15;     // elements; a multiple of 8, so that no two tiles share a byte
constexpr int kPoolTile = 8;           // rows of one channel block
constexpr int kHeadTile = 8;           // rows
constexpr int kLastGradientTile = 16;  // rows; each tile computes two more

// Weights of one filter [3, 3, in, out] in the layout of `shape`: [outer][9][block].
void arrange_filter(const LayerWeights& weights, int out_channels, int filter, const MapShape& shape,
                    float* to) {
  for (int outer = 0; outer < shape.outer(); ++outer) {
    for (int tap = 0; tap < 9; ++tap) {
      for (int lane = 0; lane < shape.block; ++lane) {
        const std::size_t in = static_cast<std::size_t>(outer) * shape.block + lane;
        *to++ = weights.kernel[(static_cast<std::size_t>(tap) * shape.channels + in) * out_channels + filter];
      }
    }
  }
}

// The same for a head that reads the image: gradient weights [9][3] by image channel, through the input
// mapping.
void arrange_image_filter(const LayerWeights& weights, int out_channels, int filter,
                          const InputMapping& mapping, float* to) {
  std::fill_n(to, 27, 0.f);
  for (std::size_t tap = 0; tap < 9; ++tap) {
    for (std::size_t channel = 0; channel < 3; ++channel) {
      to[tap * 3 + mapping.source[channel]] +=
          mapping.scale[channel] * weights.kernel[(tap * 3 + channel) * out_channels + filter];
    }
  }
}

}  // namespace

Stack::Stack(const Network& network, const Weights& weights, const InputMapping& mapping, Planner& planner,
             Plan plan, std::span<const int> filters)
    : network_(network), mapping_(mapping), plan_(std::move(plan)), stream_(planner.engine()) {
  const int target = plan_.target_layer;
  const int capacity = plan_.capacity;
  const MapShape first_map = planner.map_shape(0);
  image_ = {first_map.height, first_map.width};
  input_shape_ = {3, image_.height, image_.width, planner.input_block(0) == 0 ? 1 : 3};

  std::size_t largest_chunk = 0;
  for (std::size_t b = 0; b < plan_.blocks.size(); ++b) {
    const BlockPlan& block = plan_.blocks[b];
    if (b == 0) {
      boundaries_.push_back({input_shape_, AlignedBuffer<float>(input_shape_.size() * block.chunk)});
    } else {
      const MapShape shape = planner.map_shape(block.first_layer - 1).pooled();
      boundaries_.push_back({shape, AlignedBuffer<float>(shape.size() * capacity)});
    }
    // Images that only fill a chunk up are computed too and must hold numbers.
    std::ranges::fill(boundaries_.back().maps.span(), 0.f);
    for (int layer = block.first_layer; layer < block.end_layer; ++layer) {
      const MapShape shape = planner.map_shape(layer);
      shapes_.push_back(shape);
      const std::size_t stride =
          network_.convolutions[layer].pool_after ? shape.pooled().size() : (shape.size() + 7) / 8;
      mask_stride_.push_back(stride);
      masks_.emplace_back(stride * capacity);
      std::ranges::fill(masks_.back().span(), std::uint8_t{0});
      largest_chunk = std::max(largest_chunk, shape.size() * block.chunk);
    }
  }
  for (AlignedBuffer<float>& maps : scratch_maps_) {
    maps = AlignedBuffer<float>(largest_chunk);
    std::ranges::fill(maps.span(), 0.f);
  }
  scratch_ = AlignedBuffer<std::byte>(plan_.scratch_bytes);

  head_below_relu_ = target > 0 && !network_.convolutions[target - 1].pool_after;
  head_shape_ = head_below_relu_ ? shapes_[target - 1] : boundaries_.back().shape;
  response_extent_ = {head_shape_.height, head_shape_.width};
  responses_ = AlignedBuffer<float>(response_extent_.positions() * plan_.images);
  const LayerWeights& head_layer = *weights.layers[target];
  const int filter_count = network_.convolutions[target].out_channels;
  const std::size_t filter_size = 9 * static_cast<std::size_t>(head_shape_.channels);
  head_weights_ = AlignedBuffer<float>(filter_size * plan_.images);
  head_gradient_weights_ = AlignedBuffer<float>(filter_size * plan_.images);
  for (int image = 0; image < plan_.images; ++image) {
    float* to = head_weights_.data() + filter_size * image;
    float* to_gradient = head_gradient_weights_.data() + filter_size * image;
    arrange_filter(head_layer, filter_count, filters[image], head_shape_, to);
    if (target == 0) {
      arrange_image_filter(head_layer, filter_count, filters[image], mapping_, to_gradient);
    } else {
      std::copy_n(to, filter_size, to_gradient);
    }
    head_bias_.push_back(head_layer.bias[filters[image]]);
  }

  if (target > 0) {
    const LayerWeights& first_layer = *weights.layers[0];
    const int channels = first_map.channels;
    last_gradient_weights_ = AlignedBuffer<float>(static_cast<std::size_t>(channels) * 32);
    std::ranges::fill(last_gradient_weights_.span(), 0.f);
    for (int channel = 0; channel < channels; ++channel) {
      arrange_image_filter(first_layer, channels, channel, mapping_,
                           last_gradient_weights_.data() + static_cast<std::size_t>(channel) * 32);
    }
  }

  thread_scratch_size_ = static_cast<std::size_t>(image_.width) * 3 * 32;
  thread_scratch_ = AlignedBuffer<float>(thread_scratch_size_ * omp_get_max_threads());
}

void Stack::loss_and_gradient(const float* images, double* losses, float* gradients) {
  run(images, losses, gradients);
}

void Stack::loss(const float* images, double* losses) {
  run(images, losses, nullptr);
}

int Stack::images_in_chunk(const BlockPlan& block, int first) const {
  return std::min(block.chunk, plan_.images - first);
}

void Stack::run(const float* images, double* losses, float* gradients) {
  const std::size_t top = plan_.blocks.size() - 1;
  for (std::size_t b = 0; b <= top; ++b) {
    const BlockPlan& block = plan_.blocks[b];
    for (int first = 0; first < plan_.images; first += block.chunk) {
      const int count = images_in_chunk(block, first);
      if (b == 0) load_input(images, first, count);
      forward_block(b, first, count);
      if (b < top) continue;
      // The top block turns round at once, while its maps are in cache.
      const bool convolved = block.end_layer > block.first_layer;
      float* below = b == 0 ? boundaries_[0].at(0) : boundaries_[b].at(first);
      const float* maps = below;
      if (convolved) maps = scratch_maps_[(block.end_layer - block.first_layer - 1) % 2].data();
      head(first, count, head_shape_, maps, losses);
      if (gradients == nullptr) continue;
      float* gradient = convolved                 ? other(maps)
                        : plan_.target_layer == 0 ? gradients + image_size() * first
                                                  : below;
      head_gradient(first, count, head_shape_, maps, gradient);
      if (convolved) backward_block(b, first, count, gradient, gradients);
    }
  }
  if (gradients == nullptr) return;
  for (std::size_t b = top; b-- > 0;) {
    const BlockPlan& block = plan_.blocks[b];
    const int layer = block.end_layer - 1;
    const MapShape& shape = shapes_[layer];
    const int rows = shape.outer() * ((shape.height + 1) / 2);
    for (int first = 0; first < plan_.images; first += block.chunk) {
      float* gradient = scratch_maps_[0].data();
      const int count = images_in_chunk(block, first);
      parallel_tiles(count, rows, kPoolTile, [&](int image, int begin, int end) {
        kernels_.pool_backward(shape, boundaries_[b + 1].at(first + image),
                               masks_[layer].data() + mask_stride_[layer] * (first + image),
                               gradient + shape.size() * image, begin, end);
      });
      backward_block(b, first, count, gradient, gradients);
    }
  }
}

void Stack::load_input(const float* images, int first, int count) {
  Boundary& input = boundaries_[0];
  const std::size_t positions = image_.positions();
  const bool planar = input.shape.block == 1;
  parallel_tiles(count, static_cast<int>(positions), 1 << 13, [&](int image, int begin, int end) {
    const float* from = images + image_size() * (first + image);
    float* to = input.at(image);
    for (std::size_t channel = 0; channel < 3; ++channel) {
      const float scale = mapping_.scale[channel];
      const float offset = mapping_.offset[channel];
      const int source = mapping_.source[channel];
      for (std::size_t i = begin; i < static_cast<std::size_t>(end); ++i) {
        to[planar ? channel * positions + i : i * 3 + channel] = scale * from[i * 3 + source] + offset;
      }
    }
  });
}

// Leaves the block's output in the next boundary, or, in the top block, in scratch_maps_[(layers - 1) % 2].
void Stack::forward_block(std::size_t b, int first, int count) {
  const BlockPlan& block = plan_.blocks[b];
  const float* source = b == 0 ? boundaries_[0].at(0) : boundaries_[b].at(first);
  float* destination = scratch_maps_[0].data();
  for (int layer = block.first_layer; layer < block.end_layer; ++layer) {
    block.forward[layer - block.first_layer]->execute(stream_, source, destination, scratch_.data());
    stream_.wait();
    const MapShape& shape = shapes_[layer];
    std::uint8_t* masks = masks_[layer].data() + mask_stride_[layer] * first;
    if (network_.convolutions[layer].pool_after) {
      parallel_tiles(count, shape.outer() * (shape.height / 2), kPoolTile,
                     [&](int image, int begin, int end) {
                       kernels_.pool_forward(shape, destination + shape.size() * image,
                                             boundaries_[b + 1].at(first + image),
                                             masks + mask_stride_[layer] * image, begin, end);
                     });
    } else if (layer + 1 < plan_.target_layer) {  // the head masks with the map itself
      parallel_tiles(count, static_cast<int>(shape.size()), kMaskTile, [&](int image, int begin, int end) {
        kernels_.pack_mask(destination + shape.size() * image + begin, end - begin,
                           masks + mask_stride_[layer] * image + begin / 8);
      });
    }
    source = destination;
    destination = other(destination);
  }
}

// `gradient`: of the block's last pre-activation, one chunk, in one of the scratch maps. Goes down to the
// boundary below, or, in block 0, to the images' gradients.
void Stack::backward_block(std::size_t b, int first, int count, float* gradient, float* gradients) {
  const BlockPlan& block = plan_.blocks[b];
  for (int layer = block.end_layer - 1; layer >= block.first_layer; --layer) {
    if (layer == 0) {
      const MapShape& shape = shapes_[0];
      parallel_tiles(count, shape.height, kLastGradientTile, [&](int image, int begin, int end) {
        kernels_.last_gradient(shape, gradient + shape.size() * image, last_gradient_weights_.data(),
                               gradients + image_size() * (first + image),
                               thread_scratch_.data() + thread_scratch_size_ * omp_get_thread_num(), begin,
                               end);
      });
      return;
    }
    const bool at_boundary = layer == block.first_layer;
    float* below = at_boundary ? boundaries_[b].at(first) : other(gradient);
    block.backward[layer - block.first_layer]->execute(stream_, gradient, below, scratch_.data());
    stream_.wait();
    if (at_boundary) return;
    const MapShape& shape = shapes_[layer - 1];
    const std::uint8_t* masks = masks_[layer - 1].data() + mask_stride_[layer - 1] * first;
    parallel_tiles(count, static_cast<int>(shape.size()), kMaskTile, [&](int image, int begin, int end) {
      kernels_.apply_mask(below + shape.size() * image + begin,
                          masks + mask_stride_[layer - 1] * image + begin / 8, end - begin);
    });
    gradient = below;
  }
}

void Stack::head(int first, int count, const MapShape& shape, const float* maps, double* losses) {
  const std::size_t positions = response_extent_.positions();
  const std::size_t filter_size = 9 * static_cast<std::size_t>(shape.channels);
  parallel_tiles(count, shape.height, kHeadTile, [&](int image, int begin, int end) {
    kernels_.head_forward(shape, maps + shape.size() * image,
                          head_weights_.data() + filter_size * (first + image), head_bias_[first + image],
                          responses_.data() + positions * (first + image),
                          thread_scratch_.data() + thread_scratch_size_ * omp_get_thread_num(), begin, end);
  });
  parallel_tiles(count, 1, 1, [&](int image, int, int) {
    const float* response = responses_.data() + positions * (first + image);
    double sum = 0;
    for (std::size_t i = 0; i < positions; ++i) sum += response[i];
    losses[first + image] = sum / static_cast<double>(positions);
  });
}

void Stack::head_gradient(int first, int count, const MapShape& shape, const float* maps, float* gradient) {
  const std::size_t positions = response_extent_.positions();
  const std::size_t filter_size = 9 * static_cast<std::size_t>(shape.channels);
  MapShape to = shape;
  if (plan_.target_layer == 0) to.block = 3;  // straight to the image's [height][width][3]
  const float scale = 1.f / static_cast<float>(positions);
  parallel_tiles(count, to.outer() * to.height, kHeadTile, [&](int image, int begin, int end) {
    kernels_.head_backward(to, responses_.data() + positions * (first + image), scale,
                           head_gradient_weights_.data() + filter_size * (first + image),
                           head_below_relu_ ? maps + shape.size() * image : nullptr,
                           gradient + to.size() * image, begin, end);
  });
}

}  // namespace filterscope::cpu
