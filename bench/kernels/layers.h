#pragma once

#include <string>
#include <vector>

#include "host/model/network.h"

namespace filterscope::bench {

/// One convolution layer of the benchmarks.
struct Layer {
  std::string name;
  int in_channels;
  int out_channels;
  Extent map;
  bool pool_after;
  /// Whether a ReLU, not the image or a pool, is directly below, so that the layer's dgrad applies its mask.
  bool relu_below;
  /// Whether the CUDA engine's dgrad applies that mask. The mask above the first layer is applied by the
  /// first layer's dgrad.
  bool masked_on_cuda;

  double operations(int images) const {
    return 2. * 9 * in_channels * out_channels * static_cast<double>(map.positions()) * images;
  }
};

/// What to measure. Batches ascend; the first layer, and layers followed by a pool, appear in each way in
/// which the engines compute them.
struct Selection {
  Network network;
  std::vector<Layer> layers;
  Extent image;
  std::vector<int> cpu_batches;
  std::vector<int> cuda_batches;
  std::vector<std::string> precisions;  ///< For CUDA: some of fp32, tf32, bf16, fp16.
  bool tiny = false;                    ///< Only checks that everything runs; the figures mean nothing.
};

/// The layers of a network.
inline std::vector<Layer> layers_of(const Network& network, Extent image) {
  std::vector<Layer> layers;
  for (int i = 0; i < network.layer_count(); ++i) {
    const Convolution& convolution = network.convolutions[i];
    layers.push_back({convolution.name, convolution.in_channels, convolution.out_channels,
                      network.map_extent(i, image), convolution.pool_after,
                      i > 0 && !network.convolutions[i - 1].pool_after,
                      i > 1 && !network.convolutions[i - 1].pool_after});
  }
  return layers;
}

/// The layers of which the engines compute all filters: all but the last one.
inline std::vector<Layer> whole_layers(const std::vector<Layer>& layers) {
  return {layers.begin(), layers.end() - 1};
}

}  // namespace filterscope::bench
