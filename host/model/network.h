#pragma once

#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "../base/extent.h"

namespace filterscope {

/// One 3x3 convolution with stride 1, zero padding 1, bias and ReLU; then, if `pool_after`, a 2x2 max-pool
/// with stride 2, whose output size is rounded down.
struct Convolution {
  std::string name;  ///< Keras' name, such as "block3_conv1".
  int in_channels;
  int out_channels;  ///< The number of filters.
  bool pool_after;

  std::int64_t parameters() const { return std::int64_t{9} * in_channels * out_channels + out_channels; }
};

/// A chain of convolutions as data. Layers are addressed by their index in `convolutions`.
struct Network {
  std::string name;
  std::vector<Convolution> convolutions;

  std::optional<int> find(std::string_view layer) const;  ///< Index of the layer of that name.
  int layer_count() const { return static_cast<int>(convolutions.size()); }
  int filter_count() const;  ///< Over all layers.
  std::int64_t parameters() const;

  /// Extent of the map that `layer` computes (before its pool) for an input image of extent `image`.
  Extent map_extent(int layer, Extent image) const;
  /// The side of the smallest square image for which every map has at least one position.
  int smallest_image() const;

  /// Multiply-adds of one forward convolution of `layer` on one image.
  double forward_macs(int layer, Extent image) const;
  /// Floating-point operations (2 per multiply-add) of one ascent iteration of one filter of `layer`: fprop
  /// and dgrad of the layers before it, and the filter head (one output channel) at the layer itself.
  double iteration_flops(int layer, Extent image) const;
};

/// One filter: the index of its layer in the network and its number in the layer, from 0.
struct FilterId {
  int layer;
  int filter;

  auto operator<=>(const FilterId&) const = default;
};

/// The convolutional part of VGG with 11, 13, 16 or 19 weight layers (K. Simonyan, A. Zisserman,
/// arXiv:1409.1556, table 1, columns A, B, D, E), with Keras' layer names. Throws std::invalid_argument for
/// another depth.
Network vgg(int depth);

/// The network of the program: vgg(16). 13 convolutions, 4224 filters, 14,714,688 parameters.
const Network& vgg16();

}  // namespace filterscope
