#include "device_weights.h"

#include <span>

#include "storage.h"

namespace filterscope::cuda {

namespace {

// In device memory, rounded to T.
template <class T>
DeviceBuffer<std::byte> upload(std::span<const float> values) {
  std::vector<T> converted(values.size());
  for (std::size_t i = 0; i < values.size(); ++i) converted[i] = kernels::from_float<T>(values[i]);
  return DeviceBuffer<std::byte>(std::as_bytes(std::span<const T>(converted)));
}

}  // namespace

DeviceWeights::DeviceWeights(const Network& network, const Weights& weights, Precision precision)
    : network_(network), weights_(weights), precision_(precision), layers_(network.convolutions.size()) {}

std::vector<float> DeviceWeights::laid_out(int layer, WeightLayout layout) const {
  const Convolution& convolution = network_.convolutions[layer];
  const std::vector<float>& kernel = weights_.layers[layer]->kernel;
  const int inputs = convolution.in_channels;
  const int outputs = convolution.out_channels;
  std::vector<float> result(kernel.size());
  for (int tap = 0; tap < 9; ++tap) {
    for (int in = 0; in < inputs; ++in) {
      for (int out = 0; out < outputs; ++out) {
        const std::size_t at = layout == WeightLayout::krsc
                                   ? (std::size_t{9} * out + tap) * inputs + in
                                   : (std::size_t{9} * in + (8 - tap)) * outputs + out;
        result[at] = kernel[(std::size_t(tap) * inputs + in) * outputs + out];
      }
    }
  }
  return result;
}

const void* DeviceWeights::kernel(int layer, WeightLayout layout) {
  auto& kernel = layers_[layer].kernels[static_cast<int>(layout)];
  if (!kernel) {
    kernel =
        with_storage(precision_, [&]<class T>(Storage<T>) { return upload<T>(laid_out(layer, layout)); });
  }
  return kernel->data();
}

const void* DeviceWeights::bias(int layer, BiasType type) {
  auto& bias = layers_[layer].biases[static_cast<int>(type)];
  if (!bias) {
    const std::vector<float>& values = weights_.layers[layer]->bias;
    bias = type == BiasType::fp32
               ? upload<float>(values)
               : with_storage(precision_, [&]<class T>(Storage<T>) { return upload<T>(values); });
  }
  return bias->data();
}

const float* DeviceWeights::filters(int layer) {
  auto& filters = layers_[layer].filters;
  if (!filters) filters.emplace(std::span<const float>(laid_out(layer, WeightLayout::krsc)));
  return filters->data();
}

}  // namespace filterscope::cuda
