#pragma once

#include <string>
#include <vector>

#include "host/model/network.h"

namespace filterscope::bench {

/// One convolution layer as the benchmarks see it.
struct Layer {
  std::string name;
  int in_channels;
  int out_channels;
  Extent map;
  bool pool_after;
  /// Whether a ReLU, and not the image or a pool, lies directly below, so that the layer's dgrad
  /// passes it.
  bool relu_below;
  /// Whether the engine on CUDA has the dgrad pass it. That of the first layer is passed by the last
  /// gradient.
  bool masked_on_cuda;

  double operations(int images) const {
    return 2. * 9 * in_channels * out_channels * static_cast<double>(map.positions()) * images;
  }
};

/// What is measured. Batches ascend; a layer that is followed by a pool or is the first one appears in each
/// way that the engines compute it.
struct Selection {
  Network network;
  std::vector<Layer> layers;
  Extent image;
  std::vector<int> cpu_batches;
  std::vector<int> cuda_batches;
  std::vector<std::string> precisions;  ///< Of the CUDA side, of fp32, tf32, bf16, fp16.
  bool tiny = false;                    ///< Made to see that everything runs: no figure means anything.
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

/// Of the last layer the engines compute one filter only; those before it are computed whole.
inline std::vector<Layer> whole_layers(const std::vector<Layer>& layers) {
  return {layers.begin(), layers.end() - 1};
}

}  // namespace filterscope::bench
