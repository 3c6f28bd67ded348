#include "network_passes.h"

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "first_layer.h"
#include "kernels/head/filter_head.h"
#include "kernels/head/image_head.h"
#include "kernels/pool/max_pool.h"
#include "layer_masks.h"
#include "nvtx.h"
#include "runtime.h"
#include "storage.h"

namespace filterscope::cuda {

namespace {

using kernels::ceil_div;

constexpr int kBitsPerWord = 32;

kernels::InputMap to_kernel_map(const InputMapping& mapping) {
  kernels::InputMap map;
  std::ranges::copy(mapping.source, map.source);
  std::ranges::copy(mapping.scale, map.scale);
  std::ranges::copy(mapping.offset, map.offset);
  return map;
}

kernels::InputMap shifted(kernels::InputMap map, int range) {
  for (float& scale : map.scale) scale = std::ldexp(scale, -range);
  for (float& offset : map.offset) offset = std::ldexp(offset, -range);
  return map;
}

// Sizes of what is stored between operations, for the images for which it is computed.
struct Sizes {
  const Network& network;
  Extent image;
  const BatchLayout& layout;

  std::size_t positions(int layer) const { return network.map_extent(layer, image).positions(); }
  std::size_t channels(int layer) const { return network.convolutions[layer].out_channels; }
  Extent pooled_extent(int layer) const {
    const Extent map = network.map_extent(layer, image);
    return {map.height / 2, map.width / 2};
  }
  // Elements of a layer's output, before and after its pool.
  std::size_t map(int layer) const {
    return layout.continuing_past(layer) * positions(layer) * channels(layer);
  }
  std::size_t pooled(int layer) const {
    return layout.continuing_past(layer) * pooled_extent(layer).positions() * channels(layer);
  }
  std::size_t head_words(int layer) const {
    return layout.targeting(layer) * ceil_div<std::size_t>(positions(layer), kBitsPerWord);
  }
};

// Elements of the largest map between two operations.
std::size_t largest_map(const Sizes& sizes) {
  std::size_t largest = 0;
  for (int layer = 0; layer <= sizes.layout.deepest_layer(); ++layer)
    largest = std::max(largest, sizes.map(layer));
  return largest;
}

template <class T>
class NetworkPassesOf final : public NetworkPasses {
 public:
  NetworkPassesOf(const Network& network, const Stage& stage, DeviceWeights& weights, Plan plan, int range)
      : network_(network),
        weights_(weights),
        plan_(std::move(plan)),
        map_(to_kernel_map(stage.input_mapping)),
        shifted_map_(shifted(map_, range)),
        range_(range),
        objective_(stage.objective) {
    const BatchLayout& layout = plan_.layout;
    const Sizes sizes{network_, plan_.image, layout};
    for (DeviceBuffer<T>& buffer : buffers_) buffer = allocate<T>(largest_map(sizes));
    workspace_ = allocate<std::byte>(plan_.workspace_bytes());
    layers_.resize(plan_.layers.size());
    for (int layer = 0; layer <= layout.deepest_layer(); ++layer) {
      const bool pooled = network_.convolutions[layer].pool_after;
      layers_[layer] = LayerMasks<T>(plan_.layers[layer].mask, {.map = sizes.map(layer),
                                                                .pooled = pooled ? sizes.pooled(layer) : 0,
                                                                .head_words = sizes.head_words(layer)});
      bytes_ += layers_[layer].device_bytes();
    }
    std::vector<float> weights_of_losses(layout.images());
    std::vector<float> factors(layout.images());
    for (int image = 0; image < layout.images(); ++image) {
      const auto positions = static_cast<float>(
          counted_positions(objective_, network_.map_extent(layout.layer_of(image), plan_.image))
              .positions());
      weights_of_losses[image] = std::ldexp(1.f / positions, range);
      factors[image] = 1.f / (positions * kHeadGradient);
    }
    if (layout.continuing_past(0) > 0) {
      first_layer_fprop_ = first_layer_fprop_kernel<T>(plan_.first_layer_fprop).launch;
      first_layer_dgrad_ = first_layer_dgrad_kernel<T>(plan_.first_layer_dgrad).launch;
    }
    bring_weights();
    loss_weights_ = DeviceBuffer<float>(std::span<const float>(weights_of_losses));
    gradient_factors_ = DeviceBuffer<float>(std::span<const float>(factors));
  }

  const Plan& plan() const override { return plan_; }
  const float* loss_weights() const override { return loss_weights_.data(); }
  std::size_t device_bytes() const override { return bytes_; }

  void forward(const PassArguments& arguments, cudaStream_t stream) override {
    const BatchLayout& layout = plan_.layout;
    const T* input = nullptr;  // The layer's input; the first layer reads the images.
    int side = 0;              // The index of the buffer that `input` is not in.
    for (int layer = 0; layer <= layout.deepest_layer(); ++layer) {
      const nvtx::Range range(network_.convolutions[layer].name);
      if (layout.targeting(layer) > 0) head(layer, input, arguments, stream);
      if (layout.continuing_past(layer) == 0) break;
      if (layer > 0 && plan_.layers[layer].fprop->needs_map()) {
        T* const output = buffers_[1 - side].data();  // May be the same memory as the input.
        convolve(layer, input, output, buffers_[side].data(), stream);
        input = output;
        continue;
      }
      T* const output = output_of(layer, side);
      if (layer > 0) {
        convolve(layer, input, output, nullptr, stream);
      } else {
        first_layer_fprop(output, arguments, stream);
      }
      input = output;
      side = 1 - side;
      if (layer > 0 || !network_.convolutions[0].pool_after) continue;
      const nvtx::Range pool = operation(0, "pool");
      kernels::max_pool<T>({.input = output,
                            .output = buffers_[side].data(),
                            .argmax = layers_[0].argmax.data(),
                            .active = layers_[0].active.data(),
                            .images_count = layout.continuing_past(0),
                            .height = plan_.image.height,
                            .width = plan_.image.width,
                            .channels = network_.convolutions[0].out_channels},
                           stream);
      input = buffers_[side].data();
      side = 1 - side;
    }
  }

  void backward(const PassArguments& arguments, cudaStream_t stream) override {
    const BatchLayout& layout = plan_.layout;
    // With respect to the layer's output before its ReLU (the first layer's: after it), or to the output of a
    // pool after the layer. It holds the images that continue past the layer.
    T* gradient = nullptr;
    for (int layer = layout.deepest_layer(); layer > 0; --layer) {
      const nvtx::Range range(network_.convolutions[layer].name);
      // The gradient of the layer's input comes from the layer itself and from the heads at this layer.
      const bool in_place = layout.continuing_past(layer) > 0 && plan_.layers[layer].dgrad->needs_map();
      T* const input_gradient = in_place ? gradient : other(gradient);
      const int below = layer - 1;
      const MaskFormat mask =
          below == 0 ? MaskFormat::none : plan_.layers[below].mask;  // first_layer_dgrad applies it.
      if (layout.continuing_past(layer) > 0) {
        const nvtx::Range input = operation(layer, "dgrad");
        ConvolutionVariant& variant = *plan_.layers[layer].dgrad;
        variant.launch({.source = gradient,
                        .weights = weights_.kernel(layer, variant.weight_layout()),
                        .destination = input_gradient,
                        .mask_in = mask_data(below, mask, 0),
                        .workspace = workspace_.data(),
                        .argmax = layers_[layer].argmax.data(),
                        .active = layers_[layer].active.data(),
                        .map = in_place ? other(gradient) : nullptr},
                       stream);
      }
      if (layout.targeting(layer) > 0) head_gradient(layer, mask, input_gradient, arguments, stream);
      gradient = input_gradient;
    }
    const nvtx::Range range(network_.convolutions[0].name);
    if (layout.continuing_past(0) > 0 && network_.convolutions[0].pool_after) {
      const nvtx::Range pool = operation(0, "pool gradient");
      T* const output_gradient = std::exchange(gradient, other(gradient));
      kernels::max_pool_gradient<T>({.output_gradient = output_gradient,
                                     .argmax = layers_[0].argmax.data(),
                                     .active = layers_[0].active.data(),
                                     .input_gradient = gradient,
                                     .images_count = layout.continuing_past(0),
                                     .height = plan_.image.height,
                                     .width = plan_.image.width,
                                     .channels = network_.convolutions[0].out_channels},
                                    stream);
    }
    if (layout.continuing_past(0) > 0) {
      const nvtx::Range input = operation(0, "dgrad");
      first_layer_dgrad_({.gradient = gradient,
                          .mask = layers_[0].bits.data(),
                          .weights = weights_.filters(0),
                          .map = map_,
                          .factors = gradient_factors_.data(),
                          .image_gradients = arguments.gradients,
                          .squares = arguments.squares,
                          .images_count = layout.continuing_past(0),
                          .height = plan_.image.height,
                          .width = plan_.image.width,
                          .channels = network_.convolutions[0].out_channels},
                         stream);
    }
    if (layout.targeting(0) > 0) {
      const nvtx::Range head = operation(0, "filter head gradient");
      const int first = layout.continuing_past(0);
      const int parts = kernels::image_gradient_parts(plan_.image.height, plan_.image.width);
      kernels::image_head_gradient({.active = layers_[0].head_active.data(),
                                    .sums = objective_.rescues() ? sums_of(arguments, first) : nullptr,
                                    .weights = weights_.filters(0),
                                    .filters = arguments.filters + first,
                                    .map = map_,
                                    .scale = sign() / static_cast<float>(counted(0).positions()),
                                    .image_gradients = arguments.gradients + image_size() * first,
                                    .squares = arguments.squares + std::size_t(parts) * first,
                                    .images_count = layout.targeting(0),
                                    .height = plan_.image.height,
                                    .width = plan_.image.width,
                                    .window = window(0)},
                                   stream);
    }
  }

  GradientMasks masks(int image) const override {
    const int target = plan_.layout.layer_of(image);
    GradientMasks masks;
    for (int layer = 0; layer < target; ++layer) {
      masks.layers.push_back(layers_[layer].read(plan_.layers[layer].mask, image,
                                                 network_.map_extent(layer, plan_.image),
                                                 network_.convolutions[layer].out_channels));
    }
    masks.filter = layers_[target].read_head(image - plan_.layout.continuing_past(target),
                                             network_.map_extent(target, plan_.image).positions());
    if (objective_.rescues() && std::ranges::count(masks.filter, 1) == 0) {
      const MapWindow window = counted(target);
      const int width = network_.map_extent(target, plan_.image).width;
      for (int y = window.top; y < window.bottom; ++y)
        std::fill_n(masks.filter.begin() + y * width + window.left, window.right - window.left, 1);
    }
    return masks;
  }

 private:
  // The gradient of an active position of a filter head; first_layer_dgrad divides by it again. It is in the
  // middle of fp16's range; with 1 / positions much of the gradient would underflow.
  static constexpr float kHeadGradient = 16.f;

  template <class Element>
  DeviceBuffer<Element> allocate(std::size_t size) {
    bytes_ += size * sizeof(Element);
    return DeviceBuffer<Element>(size);
  }

  // Uploads all weights that the passes use, since nothing may be copied during capture.
  void bring_weights() {
    const BatchLayout& layout = plan_.layout;
    for (int layer = 0; layer <= layout.deepest_layer(); ++layer) {
      if (layer == 0 || layout.targeting(layer) > 0) {
        weights_.filters(layer);
        weights_.bias(layer, BiasType::fp32, range_);
      }
      const Plan::Layer& plan = plan_.layers[layer];
      if (plan.fprop) {
        weights_.kernel(layer, plan.fprop->weight_layout());
        weights_.bias(layer, plan.fprop->bias_type(), range_);
      }
      if (plan.dgrad) weights_.kernel(layer, plan.dgrad->weight_layout());
    }
  }

  // The range of an operation in a profile, under the layer's name.
  nvtx::Range operation(int layer, const char* name) const {
    return nvtx::Range(network_.convolutions[layer].name + ' ' + name);
  }

  float sign() const { return objective_.minimise ? -1.f : 1.f; }
  MapWindow counted(int layer) const {
    return counted_positions(objective_, network_.map_extent(layer, plan_.image));
  }
  // counted(layer) for the kernels, which have a faster form for the whole map.
  kernels::HeadWindow window(int layer) const {
    const Extent map = network_.map_extent(layer, plan_.image);
    const MapWindow window = counted(layer);
    if (window == MapWindow{0, 0, map.height, map.width} && !objective_.before_relu) return {};
    return {.top = window.top,
            .left = window.left,
            .bottom = window.bottom,
            .right = window.right,
            .before_relu = objective_.before_relu};
  }

  std::size_t image_size() const { return plan_.image.positions() * 3; }
  static float* sums_of(const PassArguments& arguments, int image) {
    return arguments.sums + std::size_t{kernels::kFilterHeadParts} * image;
  }
  T* other(const T* buffer) const {
    return buffer == buffers_[0].data() ? buffers_[1].data() : buffers_[0].data();
  }
  T* output_of(int layer, int side) const {
    return plan_.layers[layer].mask == MaskFormat::activation ? layers_[layer].activation.data()
                                                              : buffers_[side].data();
  }

  // The mask of `layer` from its image number `image` on.
  void* mask_data(int layer, MaskFormat format, int image) const {
    const std::size_t image_size = network_.map_extent(layer, plan_.image).positions() *
                                   static_cast<std::size_t>(network_.convolutions[layer].out_channels);
    return layers_[layer].mask(format, image * image_size);
  }

  void first_layer_fprop(T* output, const PassArguments& arguments, cudaStream_t stream) {
    const nvtx::Range range = operation(0, "fprop");
    first_layer_fprop_({.images = arguments.images,
                        .weights = weights_.filters(0),
                        .bias = static_cast<const float*>(weights_.bias(0, BiasType::fp32, range_)),
                        .map = shifted_map_,
                        .output = output,
                        .mask = layers_[0].bits.data(),
                        .images_count = plan_.layout.continuing_past(0),
                        .height = plan_.image.height,
                        .width = plan_.image.width,
                        .out_channels = network_.convolutions[0].out_channels},
                       stream);
  }

  void convolve(int layer, const T* input, T* output, T* map, cudaStream_t stream) {
    const nvtx::Range range = operation(layer, "fprop");
    const MaskFormat format = plan_.layers[layer].mask;
    void* const mask = format == MaskFormat::activation ? nullptr : mask_data(layer, format, 0);
    ConvolutionVariant& variant = *plan_.layers[layer].fprop;
    variant.launch({.source = input,
                    .weights = weights_.kernel(layer, variant.weight_layout()),
                    .bias = weights_.bias(layer, variant.bias_type(), range_),
                    .destination = output,
                    .mask_out = mask,
                    .workspace = workspace_.data(),
                    .argmax = layers_[layer].argmax.data(),
                    .active = layers_[layer].active.data(),
                    .map = map},
                   stream);
  }

  void head(int layer, const T* input, const PassArguments& arguments, cudaStream_t stream) {
    const nvtx::Range range = operation(layer, "filter head");
    const int first = plan_.layout.continuing_past(layer);
    const Extent map = network_.map_extent(layer, plan_.image);
    const Convolution& convolution = network_.convolutions[layer];
    const auto* const bias = static_cast<const float*>(weights_.bias(layer, BiasType::fp32, range_));
    float* const sums = sums_of(arguments, first);
    if (layer == 0) {
      kernels::image_head({.images = arguments.images + image_size() * first,
                           .weights = weights_.filters(0),
                           .bias = bias,
                           .filters = arguments.filters + first,
                           .map = shifted_map_,
                           .sums = sums,
                           .active = layers_[0].head_active.data(),
                           .images_count = plan_.layout.targeting(0),
                           .height = map.height,
                           .width = map.width,
                           .window = window(0)},
                          stream);
      return;
    }
    kernels::filter_head<T>({.input = input + map.positions() * convolution.in_channels * first,
                             .weights = weights_.filters(layer),
                             .bias = bias,
                             .filters = arguments.filters + first,
                             .sums = sums,
                             .active = layers_[layer].head_active.data(),
                             .images_count = plan_.layout.targeting(layer),
                             .height = map.height,
                             .width = map.width,
                             .channels = convolution.in_channels,
                             .window = window(layer)},
                            stream);
  }

  void head_gradient(int layer, MaskFormat format, T* input_gradient, const PassArguments& arguments,
                     cudaStream_t stream) {
    const nvtx::Range range = operation(layer, "filter head gradient");
    const int first = plan_.layout.continuing_past(layer);
    const Extent map = network_.map_extent(layer, plan_.image);
    const int channels = network_.convolutions[layer].in_channels;
    kernels::filter_head_gradient<T>({.active = layers_[layer].head_active.data(),
                                      .sums = objective_.rescues() ? sums_of(arguments, first) : nullptr,
                                      .weights = weights_.filters(layer),
                                      .filters = arguments.filters + first,
                                      .mask = {format, mask_data(layer - 1, format, first)},
                                      .scale = sign() * kHeadGradient,
                                      .gradient = input_gradient + map.positions() * channels * first,
                                      .images_count = plan_.layout.targeting(layer),
                                      .height = map.height,
                                      .width = map.width,
                                      .channels = channels,
                                      .window = window(layer)},
                                     stream);
  }

  const Network& network_;
  DeviceWeights& weights_;
  const Plan plan_;
  const kernels::InputMap map_;
  const kernels::InputMap shifted_map_;  // To maps 2^-range_ times as large.
  const int range_;
  const Objective objective_;
  // Null if no image continues past the first layer.
  decltype(kernels::FirstLayerFpropKernel<T>::launch) first_layer_fprop_ = nullptr;
  decltype(kernels::FirstLayerDgradKernel<T>::launch) first_layer_dgrad_ = nullptr;
  std::vector<LayerMasks<T>> layers_;
  DeviceBuffer<T> buffers_[2];  // Maps in the forward pass, gradients in the backward pass.
  DeviceBuffer<std::byte> workspace_;
  DeviceBuffer<float> loss_weights_;
  DeviceBuffer<float> gradient_factors_;
  std::size_t bytes_ = 0;
};

}  // namespace

std::size_t passes_bytes(const Network& network, Extent image, Precision precision, const BatchLayout& layout,
                         MaskFormat mask) {
  const Sizes sizes{network, image, layout};
  std::size_t bytes = 2 * largest_map(sizes) * storage_bytes(precision);
  for (int layer = 0; layer <= layout.deepest_layer(); ++layer) {
    bytes += sizes.head_words(layer) * sizeof(std::uint32_t);
    if (network.convolutions[layer].pool_after) {
      bytes += sizes.pooled(layer) / 8 * 3;
    } else if (layer == 0) {
      bytes += sizes.map(layer) / 8;
    } else if (mask == MaskFormat::activation) {
      bytes += sizes.map(layer) * storage_bytes(precision);
    } else {
      bytes += mask == MaskFormat::bytes ? sizes.map(layer) : sizes.map(layer) / 8;
    }
  }
  return bytes;
}

std::unique_ptr<NetworkPasses> make_passes(const Network& network, const Stage& stage, Precision precision,
                                           DeviceWeights& weights, Plan plan, int range) {
  return with_storage(precision, [&]<class T>(Storage<T>) -> std::unique_ptr<NetworkPasses> {
    return std::make_unique<NetworkPassesOf<T>>(network, stage, weights, std::move(plan), range);
  });
}

}  // namespace filterscope::cuda
