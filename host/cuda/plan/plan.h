#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "../../model/network.h"
#include "../../run/batch.h"
#include "../convolution.h"

namespace filterscope::cuda {

/// How the convolutions of a layout are computed.
struct Plan {
  struct Layer {
    /// Of the images that pass the layer; null where none does, and for the first layer, which has kernels
    /// of its own.
    std::unique_ptr<ConvolutionVariant> fprop;
    std::unique_ptr<ConvolutionVariant> dgrad;
    /// How it is kept where the layer's ReLU was active; none where a pool follows, which keeps it, and at
    /// the layout's deepest layer. The first layer's is bits, which its own kernels write and apply: the
    /// dgrad of the second layer does not pass it.
    MaskFormat mask = MaskFormat::none;
  };
  BatchLayout layout;
  Extent image;
  std::vector<Layer> layers;  ///< Up to the layout's deepest.
  /// The first layer's kernels, by the names that first_layer_kernels() gives; empty where no image passes
  /// it.
  std::string first_layer_fprop;
  std::string first_layer_dgrad;

  std::size_t workspace_bytes() const;
  /// One line that says what fixes the bits of a result: layout and, by layer and direction, who computes
  /// it.
  std::string describe(const Network& network) const;
};

}  // namespace filterscope::cuda
