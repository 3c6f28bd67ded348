#include "random_network.h"

#include <random>

namespace filterscope::test {

Network make_network(const std::vector<LayerShape>& layers) {
  Network network{.name = "test", .convolutions = {}};
  int channels = 3;
  for (const LayerShape& layer : layers) {
    network.convolutions.push_back({.name = "layer" + std::to_string(network.convolutions.size() + 1),
                                    .in_channels = channels,
                                    .out_channels = layer.filters,
                                    .pool_after = layer.pool_after});
    channels = layer.filters;
  }
  return network;
}

Network small_network() {
  return make_network({{5}, {7, true}, {6}, {9, true}, {11}, {4}});
}

std::vector<float> random_values(std::size_t count, std::uint64_t seed, float low, float high) {
  // The standard fixes the numbers of std::mt19937_64, but not those of std::uniform_real_distribution.
  std::mt19937_64 engine(seed);
  std::vector<float> values(count);
  for (float& value : values) {
    const float unit = static_cast<float>(engine() >> 40) * 0x1p-24f;
    value = low + (high - low) * unit;
  }
  return values;
}

Weights random_weights(const Network& network, std::uint64_t seed) {
  Weights weights;
  weights.name = "random:" + std::to_string(seed);
  weights.natural_input = identity_mapping();
  std::uint64_t layer_seed = seed * 1000;
  for (const Convolution& convolution : network.convolutions) {
    const std::size_t inputs = std::size_t{9} * static_cast<std::size_t>(convolution.in_channels);
    const std::size_t outputs = static_cast<std::size_t>(convolution.out_channels);
    const float bound = std::sqrt(6.f / static_cast<float>(inputs));
    weights.layers.push_back(
        LayerWeights{.kernel = random_values(inputs * outputs, layer_seed, -bound, bound),
                     .bias = random_values(outputs, layer_seed + 1, -0.1f, 0.1f)});
    layer_seed += 2;
  }
  return weights;
}

}  // namespace filterscope::test
