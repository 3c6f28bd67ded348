#include <fmt/format.h>

#include <array>
#include <cmath>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "kernels/common/philox.h"
#include "weights.h"

// To get the same numbers on every machine, this file uses only + - * / and sqrt, whose rounding IEEE 754
// fixes, in a fixed order. It is compiled with -ffp-contract=off, since a fused multiply-add rounds once
// where two operations round twice.

namespace filterscope {

namespace {

/// The sequence of random numbers of one filter.
class FilterStream {
 public:
  FilterStream(std::uint64_t seed, int layer, int filter)
      : seed_(seed), layer_(static_cast<std::uint32_t>(layer)), filter_(static_cast<std::uint32_t>(filter)) {}

  float uniform(float low, float high) {
    if (next_ == 4) {
      block_ = random_block(seed_, RandomStream::synthetic_weights, layer_, filter_, index_++);
      next_ = 0;
    }
    return low + (high - low) * to_unit_float(block_[next_++]);
  }

 private:
  std::uint64_t seed_;
  std::uint32_t layer_;
  std::uint32_t filter_;
  std::uint32_t index_ = 0;
  Philox::Counter block_{};
  int next_ = 4;
};

/// Scales `values` to a Euclidean norm of `norm`.
void set_norm(std::span<float> values, float norm) {
  float sum = 0.f;
  for (const float value : values) sum += value * value;
  const float factor = norm / std::sqrt(sum);
  for (float& value : values) value *= factor;
}

/// Directions spread over the half circle: that of filter `f` of `n`, turned by `phase` in [0, 1) of a step.
/// The rational parametrisation of the circle needs no cosine.
std::array<float, 2> direction(int f, int n, float phase) {
  const float t = 2.f * (static_cast<float>(f) + phase) / static_cast<float>(n) - 1.f;
  const float square = t * t;
  return {(1.f - square) / (1.f + square), 2.f * t / (1.f + square)};
}

/// First-layer filters alternate between a grey edge, a coloured edge, a coloured bar and a colour blob. Each
/// sums to zero over the window, so its response to a uniform image is its bias.
void fill_first_layer(const Convolution& convolution, std::uint64_t seed, LayerWeights& weights) {
  enum Pattern { kGreyEdge, kColourEdge, kColourBar, kColourBlob, kPatterns };
  // To noise that is uniform in [0, 1), with variance 1/12, a filter of norm sqrt(12) responds with
  // variance 1.
  constexpr float kNorm = 3.4641016f;
  const int channels = convolution.in_channels;
  const int filters = convolution.out_channels;
  std::vector<float> kernel(static_cast<std::size_t>(9) * channels);
  std::vector<float> colour(channels);
  for (int filter = 0; filter < filters; ++filter) {
    FilterStream random(seed, 0, filter);
    const int pattern = filter % kPatterns;
    const int steps = (filters + kPatterns - 1) / kPatterns;
    const auto [along_x, along_y] = direction(filter / kPatterns, steps, random.uniform(0.f, 1.f));
    const float sign = random.uniform(-1.f, 1.f) < 0.f ? -1.f : 1.f;
    float mean = 0.f;
    for (float& component : colour) {
      component = pattern == kGreyEdge ? 1.f : random.uniform(-1.f, 1.f);
      mean += component / static_cast<float>(channels);
    }
    if (pattern == kColourBlob && channels > 1) {
      for (float& component : colour) component -= mean;
    }
    set_norm(colour, 1.f);
    for (int y = -1; y <= 1; ++y) {
      for (int x = -1; x <= 1; ++x) {
        const float across = along_x * static_cast<float>(x) + along_y * static_cast<float>(y);
        float value = sign * across;
        if (pattern == kColourBar) value = sign * (across * across - 2.f / 3.f);
        if (pattern == kColourBlob) value = static_cast<float>((2 - y * y) * (2 - x * x));
        for (int channel = 0; channel < channels; ++channel) {
          kernel[static_cast<std::size_t>((y + 1) * 3 + (x + 1)) * channels + channel] =
              value * colour[channel];
        }
      }
    }
    set_norm(kernel, kNorm);
    for (std::size_t i = 0; i < kernel.size(); ++i) weights.kernel[i * filters + filter] = kernel[i];
    weights.bias[filter] = random.uniform(0.f, 0.1f);
  }
}

/// Deeper filters are random with He's variance. Plain random filters would respond mostly to the mean of
/// their (positive) input, and after a few layers half of them would be inactive everywhere, so most of each
/// 3x3 window's mean is removed.
void fill_deep_layer(const Convolution& convolution, int layer, std::uint64_t seed, LayerWeights& weights) {
  constexpr float kMeanRemoved = 0.9f;
  constexpr float kGain = 1.25f;
  const std::size_t channels = convolution.in_channels;
  const std::size_t filters = convolution.out_channels;
  const float bound = kGain * std::sqrt(6.f / (9.f * static_cast<float>(channels)));
  std::vector<float> kernel(9 * channels);
  for (std::size_t filter = 0; filter < filters; ++filter) {
    FilterStream random(seed, layer, static_cast<int>(filter));
    for (float& value : kernel) value = random.uniform(-bound, bound);
    for (std::size_t channel = 0; channel < channels; ++channel) {
      float sum = 0.f;
      for (std::size_t tap = 0; tap < 9; ++tap) sum += kernel[tap * channels + channel];
      const float removed = kMeanRemoved * (sum / 9.f);
      for (std::size_t tap = 0; tap < 9; ++tap) kernel[tap * channels + channel] -= removed;
    }
    for (std::size_t i = 0; i < kernel.size(); ++i) weights.kernel[i * filters + filter] = kernel[i];
    weights.bias[filter] = random.uniform(0.f, 0.1f);
  }
}

}  // namespace

Weights synthetic_weights(const Network& network, std::uint64_t seed) {
  Weights weights;
  weights.name = fmt::format("synthetic:{}", seed);
  weights.kind = WeightsKind::synthetic;
  weights.natural_input = identity_mapping();
  for (int layer = 0; layer < network.layer_count(); ++layer) {
    const Convolution& convolution = network.convolutions[layer];
    LayerWeights made;
    made.kernel.resize(static_cast<std::size_t>(9) * convolution.in_channels * convolution.out_channels);
    made.bias.resize(convolution.out_channels);
    if (layer == 0) {
      fill_first_layer(convolution, seed, made);
    } else {
      fill_deep_layer(convolution, layer, seed, made);
    }
    weights.layers.emplace_back(std::move(made));
  }
  return weights;
}

}  // namespace filterscope
