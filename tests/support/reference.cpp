#include "reference.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <utility>

#include "host/ascent/operations/colour.h"
#include "host/ascent/operations/fourier.h"
#include "host/ascent/operations/picture.h"
#include "host/ascent/operations/start.h"
#include "kernels/common/philox.h"
#include "operations.h"

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

Map ascent_step(const Recipe& recipe, const Map& image, const Map& gradient) {
  assert(image.values.size() == gradient.values.size());
  Map next = image;
  std::vector<Values> state;
  step(recipe.first(), 1, gradient.values, state, next.values);
  return next;
}

namespace {

// One stage of one filter.
class Climb {
 public:
  Climb(const Network& network, const Weights& weights, const Stage& stage, std::uint64_t seed, FilterId id,
        int earlier)
      : network_(network), weights_(weights), stage_(stage), seed_(seed), id_(id), earlier_(earlier) {}

  void start() {
    const bool fourier = stage_.parameterisation.kind == Parameterisation::Kind::fourier;
    const int columns = fourier ? stage_.extent.width / 2 + 1 : stage_.extent.width;
    std::vector<float> drawn(size(stage_.extent.height) * size(columns) * (fourier ? 6 : 3));
    draw_start(stage_.start, seed_, id_, drawn);
    if (!fourier) from_image(stage_.parameterisation, drawn);
    parameters_.assign(drawn.begin(), drawn.end());
  }
  // The parameters of a given image are the program's own: many have the same image.
  void start_from(const Map& image) {
    std::vector<float> values = to_float(image);
    from_image(stage_.parameterisation, values);
    if (stage_.parameterisation.kind == Parameterisation::Kind::fourier) {
      const FourierImage fourier(stage_.extent, stage_.parameterisation.decay);
      std::vector<float> coefficients(fourier.size());
      fourier.from_image(values, coefficients);
      values = std::move(coefficients);
    } else if (stage_.parameterisation == Parameterisation{}) {
      parameters_ = image.values;  // Not rounded.
      return;
    }
    parameters_.assign(values.begin(), values.end());
  }

  Gradient judge(int iteration) {
    if (iteration > 0) keep_transforms(iteration);
    image_ = to_image(stage_.parameterisation, stage_.extent, parameters_);
    const Map canvas = shown(iteration);
    return loss_and_gradient(network_, weights_, stage_.input_mapping, stage_.objective, id_.layer,
                             id_.filter, canvas);
  }

  // Returns the norm of the gradient with respect to the parameters.
  double climb(int iteration, const Gradient& judged) {
    Map gradient = stage_.transforms.empty()
                       ? judged.gradient
                       : warp_adjoint(map_of(iteration), judged.gradient, stage_.extent);
    for (const Regulariser& regulariser : stage_.regularisers) {
      const Map penalty = penalty_gradient(regulariser, image_);
      for (std::size_t i = 0; i < gradient.values.size(); ++i) gradient.values[i] -= penalty.values[i];
    }
    const Values own = parameters_gradient(stage_.parameterisation, image_, gradient);
    step(stage_, iteration, own, state_, parameters_);
    double squares = 0;
    for (const double value : own) squares += value * value;
    return std::sqrt(squares);
  }

  const Map& image() const { return image_; }

 private:
  AffineMap map_of(int iteration) const {
    return draw_map(stage_.transforms, seed_, id_, iteration == 0 ? 0 : earlier_ + iteration);
  }
  Map shown(int iteration) const {
    if (stage_.transforms.empty()) return image_;
    return warp(map_of(iteration), stage_.transforms.border, stage_.transforms.value, image_,
                canvas_extent(stage_));
  }
  // By the program's own function, which is tested apart.
  void keep_transforms(int iteration) {
    if (stage_.kept_transforms.empty()) return;
    std::vector<float> image(parameters_.begin(), parameters_.end());
    std::vector<float> scratch(image.size());
    apply_kept_transforms(stage_.kept_transforms, seed_, id_, earlier_ + iteration, stage_.extent, image,
                          scratch);
    parameters_.assign(image.begin(), image.end());
  }

  const Network& network_;
  const Weights& weights_;
  const Stage& stage_;
  std::uint64_t seed_;
  FilterId id_;
  int earlier_;
  Values parameters_;
  std::vector<Values> state_;
  Map image_;
};

void climb_stage(Climb& climb, int iterations, Ascent& ascent) {
  for (int iteration = 1; iteration <= iterations; ++iteration) {
    const Gradient judged = climb.judge(iteration);
    ascent.losses.push_back(judged.loss);
    ascent.gradient_norm = climb.climb(iteration, judged);
  }
  ascent.final_loss = climb.judge(0).loss;
  ascent.image = climb.image();
}

}  // namespace

Ascent ascend(const Network& network, const Weights& weights, const Recipe& recipe, int layer, int filter,
              const Map& image, int iterations) {
  Ascent ascent;
  Stage stage = recipe.first();
  stage.extent = image.extent();
  Climb climb(network, weights, stage, 0, {layer, filter}, 0);
  climb.start_from(image);
  climb_stage(climb, iterations, ascent);
  return ascent;
}

Ascent ascend(const Network& network, const Weights& weights, const Recipe& recipe, std::uint64_t seed,
              int layer, int filter) {
  Ascent ascent;
  int earlier = 0;
  for (const Stage& stage : recipe.stages) {
    Climb climb(network, weights, stage, seed, {layer, filter}, earlier);
    if (earlier == 0) {
      climb.start();
    } else {
      // Through the picture by the program's own function, which is tested apart.
      const std::vector<float> from = to_float(ascent.image);
      std::vector<float> image(size(stage.extent.height) * size(stage.extent.width) * 3);
      filterscope::resample(stage.resampling, recipe.picture, from, ascent.image.extent(), image,
                            stage.extent);
      climb.start_from(Map(stage.extent, 3, image));
    }
    climb_stage(climb, stage.iterations, ascent);
    earlier += stage.iterations;
  }
  return ascent;
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
