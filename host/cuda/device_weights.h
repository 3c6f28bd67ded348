#pragma once

#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "../model/network.h"
#include "../model/weights/weights.h"
#include "convolution.h"
#include "kernels/common/types.h"
#include "runtime.h"

namespace filterscope::cuda {

/// The parameters of a network in device memory, each layer in the layouts and types that have been
/// requested. Each is copied once. References must outlive it.
class DeviceWeights {
 public:
  DeviceWeights(const Network& network, const Weights& weights, Precision precision);

  /// The kernel of a layer in the storage type.
  const void* kernel(int layer, WeightLayout layout);
  /// The bias times 2^-`range`, for maps that are kept smaller by this factor.
  const void* bias(int layer, BiasType type, int range = 0);
  /// fp32 [filters][3][3][in_channels], for the first layer and for filter heads.
  const float* filters(int layer);

 private:
  struct Layer {
    std::optional<DeviceBuffer<std::byte>> kernels[2];  // By WeightLayout, in the storage type.
    std::map<std::pair<BiasType, int>, DeviceBuffer<std::byte>> biases;  // By type and range.
    std::optional<DeviceBuffer<float>> filters;
  };

  const Network& network_;
  const Weights& weights_;
  Precision precision_;
  std::vector<Layer> layers_;
};

}  // namespace filterscope::cuda
