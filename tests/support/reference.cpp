#include "reference.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <utility>

#include "kernels/common/philox.h"

namespace filterscope::reference {

namespace {

std::size_t size(int n) {
  return static_cast<std::size_t>(n);
}

// The row of `kernel` for one tap and input channel: one weight per output channel.
std::span<const float> kernel_row(std::span<const float> kernel, int ky, int kx, int in_channel,
                                  int in_channels, int out_channels) {
  const std::size_t row = (size(ky) * 3 + size(kx)) * size(in_channels) + size(in_channel);
  return kernel.subspan(row * size(out_channels), size(out_channels));
}

struct Position {
  int y;
  int x;
};

// The position of the window's first maximum, of the output position (y, x).
Position pool_argmax(const Map& input, int y, int x, int channel) {
  Position argmax{2 * y, 2 * x};
  for (int dy = 0; dy < 2; ++dy) {
    for (int dx = 0; dx < 2; ++dx) {
      const Position candidate{2 * y + dy, 2 * x + dx};
      if (input.at(candidate.y, candidate.x, channel) > input.at(argmax.y, argmax.x, channel)) {
        argmax = candidate;
      }
    }
  }
  return argmax;
}

const LayerWeights& layer_weights(const Weights& weights, int layer) {
  assert(weights.layers[size(layer)].has_value());
  return *weights.layers[size(layer)];
}

struct Activations {
  std::vector<Map> maps;  // Maps of layers 0 .. layer after their ReLU, before their pools.
  Map sums;               // The last layer's map before its ReLU.
};

Activations activations(const Network& network, const Weights& weights, const InputMapping& mapping,
                        int layer, const Map& image) {
  Activations all;
  Map input = apply_mapping(mapping, image);
  for (int i = 0; i <= layer; ++i) {
    const LayerWeights& parameters = layer_weights(weights, i);
    all.sums = convolve(input, parameters.kernel, parameters.bias);
    all.maps.push_back(relu(all.sums));
    input = network.convolutions[size(i)].pool_after ? max_pool(all.maps.back()) : all.maps.back();
  }
  return all;
}

// The gradient of the mean over the positions of one filter's map that count, with respect to the map.
Map mean_gradient(const Map& map, int filter, const Objective& objective) {
  Map gradient(map.extent(), map.channels);
  const MapWindow window = counted_positions(objective, map.extent());
  for (int y = window.top; y < window.bottom; ++y) {
    for (int x = window.left; x < window.right; ++x)
      gradient.at(y, x, filter) = 1 / static_cast<double>(window.positions());
  }
  return gradient;
}

double mean(const Map& map, int filter, const Objective& objective) {
  const MapWindow window = counted_positions(objective, map.extent());
  double sum = 0;
  for (int y = window.top; y < window.bottom; ++y) {
    for (int x = window.left; x < window.right; ++x) sum += map.at(y, x, filter);
  }
  return sum / static_cast<double>(window.positions());
}

// Propagates the gradient with respect to the last layer's sums, before its ReLU, down to the image. `maps`
// are the activations of layers 0 .. layer, of which only the ReLU masks and the argmax of each pool window
// matter; the last one is not used.
Map backward(const Network& network, const Weights& weights, const InputMapping& mapping, int layer,
             Map gradient, const std::vector<Map>& maps) {
  for (int i = layer; i >= 0; --i) {
    if (i < layer && network.convolutions[size(i)].pool_after) {
      gradient = max_pool_gradient(gradient, maps[size(i)]);
    }
    if (i < layer) gradient = relu_gradient(gradient, maps[size(i)]);
    gradient = convolve_input_gradient(gradient, layer_weights(weights, i).kernel,
                                       network.convolutions[size(i)].in_channels);
  }
  return mapping_gradient(mapping, gradient);
}

GradientMasks masks_of(const Network& network, const std::vector<Map>& maps, int filter, bool rescued) {
  GradientMasks masks;
  for (std::size_t i = 0; i + 1 < maps.size(); ++i) {
    Map passes(maps[i].extent(), maps[i].channels);
    std::ranges::fill(passes.values, 1);
    if (network.convolutions[i].pool_after) {
      Map pooled({passes.height / 2, passes.width / 2}, passes.channels);
      std::ranges::fill(pooled.values, 1);
      passes = max_pool_gradient(pooled, maps[i]);
    }
    passes = relu_gradient(passes, maps[i]);
    masks.layers.emplace_back(passes.values.begin(), passes.values.end());
  }
  const Map& target = maps.back();
  for (int y = 0; y < target.height; ++y) {
    for (int x = 0; x < target.width; ++x)
      masks.filter.push_back(rescued || target.at(y, x, filter) > 0 ? 1 : 0);
  }
  return masks;
}

template <typename T>
std::vector<std::uint8_t> min_max_picture_of(std::span<const T> image) {
  const auto [lowest, highest] = std::ranges::minmax_element(image);
  std::vector<std::uint8_t> picture(image.size(), 0);
  if (image.empty() || *lowest == *highest) return picture;
  const double low = double{*lowest};
  const double range = double{*highest} - low;
  for (std::size_t i = 0; i < image.size(); ++i) {
    picture[i] = static_cast<std::uint8_t>(std::floor(255 * (double{image[i]} - low) / range + 0.5));
  }
  return picture;
}

}  // namespace

Map::Map(Extent extent, int channel_count)
    : height(extent.height),
      width(extent.width),
      channels(channel_count),
      values(size(extent.height) * size(extent.width) * size(channel_count), 0.0) {}

Map::Map(Extent extent, int channel_count, std::span<const float> from) : Map(extent, channel_count) {
  assert(from.size() == values.size());
  std::ranges::copy(from, values.begin());
}

std::size_t Map::index(int y, int x, int channel) const {
  assert(y >= 0 && y < height && x >= 0 && x < width && channel >= 0 && channel < channels);
  return (size(y) * size(width) + size(x)) * size(channels) + size(channel);
}

std::vector<float> to_float(const Map& map) {
  std::vector<float> values(map.values.size());
  std::ranges::transform(map.values, values.begin(), [](double value) { return static_cast<float>(value); });
  return values;
}

Map convolve(const Map& input, std::span<const float> kernel, std::span<const float> bias) {
  const int out_channels = static_cast<int>(bias.size());
  assert(kernel.size() == 9 * size(input.channels) * bias.size());
  Map output(input.extent(), out_channels);
  for (int y = 0; y < output.height; ++y) {
    for (int x = 0; x < output.width; ++x) {
      double* sums = &output.at(y, x, 0);
      for (int out = 0; out < out_channels; ++out) sums[out] = double{bias[size(out)]};
      for (int ky = 0; ky < 3; ++ky) {
        for (int kx = 0; kx < 3; ++kx) {
          const Position from{y + ky - 1, x + kx - 1};
          if (from.y < 0 || from.y >= input.height || from.x < 0 || from.x >= input.width) continue;
          for (int in = 0; in < input.channels; ++in) {
            const double value = input.at(from.y, from.x, in);
            const float* row = kernel_row(kernel, ky, kx, in, input.channels, out_channels).data();
            for (int out = 0; out < out_channels; ++out) sums[out] += value * double{row[out]};
          }
        }
      }
    }
  }
  return output;
}

Map convolve_input_gradient(const Map& output_gradient, std::span<const float> kernel, int in_channels) {
  const int out_channels = output_gradient.channels;
  assert(kernel.size() == 9 * size(in_channels) * size(out_channels));
  Map input_gradient(output_gradient.extent(), in_channels);
  for (int y = 0; y < output_gradient.height; ++y) {
    for (int x = 0; x < output_gradient.width; ++x) {
      const double* gradients = output_gradient.values.data() +
                                (size(y) * size(output_gradient.width) + size(x)) * size(out_channels);
      for (int ky = 0; ky < 3; ++ky) {
        for (int kx = 0; kx < 3; ++kx) {
          const Position to{y + ky - 1, x + kx - 1};
          if (to.y < 0 || to.y >= input_gradient.height || to.x < 0 || to.x >= input_gradient.width) continue;
          for (int in = 0; in < in_channels; ++in) {
            const float* row = kernel_row(kernel, ky, kx, in, in_channels, out_channels).data();
            double sum = 0;
            for (int out = 0; out < out_channels; ++out) sum += gradients[out] * double{row[out]};
            input_gradient.at(to.y, to.x, in) += sum;
          }
        }
      }
    }
  }
  return input_gradient;
}

Map relu(const Map& input) {
  Map output = input;
  for (double& value : output.values) value = std::max(value, 0.0);
  return output;
}

Map relu_gradient(const Map& output_gradient, const Map& output) {
  assert(output_gradient.values.size() == output.values.size());
  Map input_gradient = output_gradient;
  for (std::size_t i = 0; i < output.values.size(); ++i) {
    if (!(output.values[i] > 0)) input_gradient.values[i] = 0;
  }
  return input_gradient;
}

Map max_pool(const Map& input) {
  Map output({input.height / 2, input.width / 2}, input.channels);
  for (int y = 0; y < output.height; ++y) {
    for (int x = 0; x < output.width; ++x) {
      for (int channel = 0; channel < output.channels; ++channel) {
        const Position argmax = pool_argmax(input, y, x, channel);
        output.at(y, x, channel) = input.at(argmax.y, argmax.x, channel);
      }
    }
  }
  return output;
}

Map max_pool_gradient(const Map& output_gradient, const Map& input) {
  assert(output_gradient.height == input.height / 2 && output_gradient.width == input.width / 2);
  Map input_gradient(input.extent(), input.channels);
  for (int y = 0; y < output_gradient.height; ++y) {
    for (int x = 0; x < output_gradient.width; ++x) {
      for (int channel = 0; channel < input.channels; ++channel) {
        const Position argmax = pool_argmax(input, y, x, channel);
        input_gradient.at(argmax.y, argmax.x, channel) = output_gradient.at(y, x, channel);
      }
    }
  }
  return input_gradient;
}

Map apply_mapping(const InputMapping& mapping, const Map& image) {
  assert(image.channels == 3);
  Map input(image.extent(), 3);
  for (int y = 0; y < image.height; ++y) {
    for (int x = 0; x < image.width; ++x) {
      for (int c = 0; c < 3; ++c) {
        input.at(y, x, c) = double{mapping.scale[size(c)]} * image.at(y, x, mapping.source[size(c)]) +
                            double{mapping.offset[size(c)]};
      }
    }
  }
  return input;
}

Map mapping_gradient(const InputMapping& mapping, const Map& input_gradient) {
  assert(input_gradient.channels == 3);
  Map image_gradient(input_gradient.extent(), 3);
  for (int y = 0; y < input_gradient.height; ++y) {
    for (int x = 0; x < input_gradient.width; ++x) {
      for (int c = 0; c < 3; ++c) {
        image_gradient.at(y, x, mapping.source[size(c)]) +=
            double{mapping.scale[size(c)]} * input_gradient.at(y, x, c);
      }
    }
  }
  return image_gradient;
}

double Gradient::norm() const {
  double squares = 0;
  for (double value : gradient.values) squares += value * value;
  return std::sqrt(squares);
}

Map activation(const Network& network, const Weights& weights, const InputMapping& mapping, int layer,
               const Map& image) {
  return activations(network, weights, mapping, layer, image).maps.back();
}

Gradient loss_and_gradient(const Network& network, const Weights& weights, const InputMapping& mapping,
                           int layer, int filter, const Map& image, bool rescue) {
  Objective objective;
  objective.rescue = rescue;
  return loss_and_gradient(network, weights, mapping, objective, layer, filter, image);
}

Gradient loss_and_gradient(const Network& network, const Weights& weights, const InputMapping& mapping,
                           const Objective& objective, int layer, int filter, const Map& image) {
  const auto [maps, sums] = activations(network, weights, mapping, layer, image);
  const Map& target = maps.back();
  const double loss = mean(objective.before_relu ? sums : target, filter, objective);
  const bool rescued = objective.rescues() && loss == 0;
  const bool linear = rescued || objective.before_relu;
  Map gradient = mean_gradient(target, filter, objective);
  if (objective.minimise)
    for (double& value : gradient.values) value = -value;
  if (!linear) gradient = relu_gradient(gradient, target);
  return {.loss = loss,
          .objective = linear ? mean(sums, filter, objective) : loss,
          .gradient = backward(network, weights, mapping, layer, std::move(gradient), maps),
          .masks = masks_of(network, maps, filter, linear)};
}

Map gradient_through(const GradientMasks& masks, const Network& network, const Weights& weights,
                     const InputMapping& mapping, int layer, int filter, Extent image) {
  std::vector<Map> maps;
  for (int i = 0; i <= layer; ++i) {
    maps.emplace_back(network.map_extent(i, image), network.convolutions[size(i)].out_channels);
    Map& map = maps.back();
    if (i < layer) {
      assert(masks.layers[size(i)].size() == map.values.size());
      std::ranges::copy(masks.layers[size(i)], map.values.begin());
      continue;
    }
    assert(masks.filter.size() == size(map.height) * size(map.width));
    for (std::size_t position = 0; position < masks.filter.size(); ++position)
      map.values[position * size(map.channels) + size(filter)] = masks.filter[position];
  }
  const Map& target = maps.back();
  return backward(network, weights, mapping, layer, relu_gradient(mean_gradient(target, filter, {}), target),
                  maps);
}

std::vector<float> noise_image(const Start& start, std::uint64_t seed, int layer, int filter, Extent extent) {
  std::vector<float> image(size(extent.height) * size(extent.width) * 3);
  for (std::size_t i = 0; i < image.size(); ++i) {
    const Philox::Counter block =
        random_block(seed, RandomStream::initial_image, static_cast<std::uint32_t>(layer),
                     static_cast<std::uint32_t>(filter), static_cast<std::uint32_t>(i / 4));
    image[i] = start.low + (start.high - start.low) * to_unit_float(block[i % 4]);
  }
  return image;
}

std::vector<std::uint8_t> min_max_picture(std::span<const double> image) {
  return min_max_picture_of(image);
}
std::vector<std::uint8_t> min_max_picture(std::span<const float> image) {
  return min_max_picture_of(image);
}

}  // namespace filterscope::reference
