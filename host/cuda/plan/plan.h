#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "../../model/network.h"
#include "../../run/batch.h"
#include "../convolution.h"

namespace filterscope::cuda {

/// How the convolutions of a batch layout are computed.
struct Plan {
  struct Layer {
    /// For the images that continue past the layer; null if none does, and for the first layer, which has its
    /// own kernels.
    std::unique_ptr<ConvolutionVariant> fprop;
    std::unique_ptr<ConvolutionVariant> dgrad;
    /// The format of the layer's ReLU mask; none if a pool follows, whose indices include it, and at the
    /// deepest layer. The first layer's is bits, written and applied by its own kernels: the dgrad of the
    /// second layer does not apply it.
    MaskFormat mask = MaskFormat::none;
  };
  BatchLayout layout;
  Extent image;
  std::vector<Layer> layers;  ///< Up to the layout's deepest layer.
  /// The first layer's kernels, by the names of first_layer_kernels(); empty if no image continues past it.
  std::string first_layer_fprop;
  std::string first_layer_dgrad;

  std::size_t workspace_bytes() const;
  /// One line with everything that determines the bits of a result: the layout and, for each layer and
  /// direction, the variant.
  std::string describe(const Network& network) const;
};

}  // namespace filterscope::cuda
