#include "device_weights.h"

#include <cmath>
#include <span>
#include <vector>

#include "../base/threads.h"
#include "storage.h"

namespace filterscope::cuda {

namespace {

// A cache line of floats.
constexpr int kTile = 16;

// [3][3][in][out] in `layout`, rounded to T. Uses all processors, since the device waits for it.
template <class T>
std::vector<T> laid_out(const std::vector<float>& kernel, const Convolution& convolution,
                        WeightLayout layout) {
  const int inputs = convolution.in_channels;
  const int outputs = convolution.out_channels;
  const int rows = 9 * inputs;
  std::vector<T> result(kernel.size());
  if (layout == WeightLayout::krsc) {
    // A transposition: each thread reads whole cache lines and writes a few whole rows.
    parallel_tiles(1, outputs, kTile, [&](int, int first, int last) {
      for (int row = 0; row < rows; ++row) {
        const float* from = kernel.data() + std::size_t(row) * outputs;
        for (int out = first; out < last; ++out)
          result[std::size_t(out) * rows + row] = kernels::from_float<T>(from[out]);
      }
    });
    return result;
  }
  parallel_tiles(9, inputs, kTile, [&](int tap, int first, int last) {
    for (int in = first; in < last; ++in) {
      const float* from = kernel.data() + (std::size_t(tap) * inputs + in) * outputs;
      T* to = result.data() + (std::size_t{9} * in + (8 - tap)) * outputs;
      for (int out = 0; out < outputs; ++out) to[out] = kernels::from_float<T>(from[out]);
    }
  });
  return result;
}

template <class T>
std::vector<T> rounded(const std::vector<float>& values) {
  std::vector<T> result(values.size());
  for (std::size_t i = 0; i < values.size(); ++i) result[i] = kernels::from_float<T>(values[i]);
  return result;
}

template <class T>
DeviceBuffer<std::byte> upload(const std::vector<T>& values) {
  return DeviceBuffer<std::byte>(std::as_bytes(std::span<const T>(values)));
}

}  // namespace

DeviceWeights::DeviceWeights(const Network& network, const Weights& weights, Precision precision)
    : network_(network), weights_(weights), precision_(precision), layers_(network.convolutions.size()) {}

const void* DeviceWeights::kernel(int layer, WeightLayout layout) {
  auto& kernel = layers_[layer].kernels[static_cast<int>(layout)];
  if (!kernel) {
    kernel = with_storage(precision_, [&]<class T>(Storage<T>) {
      return upload(laid_out<T>(weights_.layers[layer]->kernel, network_.convolutions[layer], layout));
    });
  }
  return kernel->data();
}

const void* DeviceWeights::bias(int layer, BiasType type, int range) {
  const auto [bias, missing] = layers_[layer].biases.try_emplace({type, range});
  if (missing) {
    std::vector<float> values = weights_.layers[layer]->bias;
    for (float& value : values) value = std::ldexp(value, -range);
    bias->second =
        type == BiasType::fp32
            ? upload(values)
            : with_storage(precision_, [&]<class T>(Storage<T>) { return upload(rounded<T>(values)); });
  }
  return bias->second.data();
}

const float* DeviceWeights::filters(int layer) {
  auto& filters = layers_[layer].filters;
  if (!filters) {
    filters.emplace(std::span<const float>(
        laid_out<float>(weights_.layers[layer]->kernel, network_.convolutions[layer], WeightLayout::krsc)));
  }
  return filters->data();
}

}  // namespace filterscope::cuda
