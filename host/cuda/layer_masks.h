#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "../base/extent.h"
#include "kernels/relu/mask_format.h"
#include "runtime.h"

namespace filterscope::cuda {

using kernels::MaskFormat;

/// What the forward pass keeps of one layer for the backward pass, on the device. T is the storage type. All
/// arrays are per image; those that the layer does not need are empty.
template <class T>
struct LayerMasks {
  /// How many elements each array is for; 0: none.
  struct Sizes {
    std::size_t map = 0;         ///< Elements of the output before its pool, if its ReLU mask is stored.
    std::size_t pooled = 0;      ///< Elements of the pool's output, if a pool follows.
    std::size_t head_words = 0;  ///< Words of the active positions of the heads at this layer.
  };

  LayerMasks() = default;
  /// Throws OutOfMemory.
  LayerMasks(MaskFormat format, const Sizes& sizes);

  std::size_t device_bytes() const;
  /// The ReLU mask in `format` from element `element` of the map on; null for MaskFormat::none.
  void* mask(MaskFormat format, std::size_t element) const;

  /// The mask, [height][width][channels] of `map`, copied to the host: 1 where a gradient of image number
  /// `image` passes through the ReLU, and through the pool if there is one. `format` is the plan's.
  std::vector<std::uint8_t> read(MaskFormat format, int image, Extent map, std::size_t channels) const;
  /// The same for the response of a head, number `head` of those at this layer: [positions].
  std::vector<std::uint8_t> read_head(int head, std::size_t positions) const;

  // The ReLU mask, in the format that the plan asks for.
  DeviceBuffer<std::uint32_t> bits;
  DeviceBuffer<std::uint8_t> bytes;
  DeviceBuffer<T> activation;
  // The pool after it: as in kernels::MaxPoolArguments.
  DeviceBuffer<std::uint32_t> argmax;
  DeviceBuffer<std::uint32_t> active;
  // The heads at this layer: as kernels::FilterHeadArguments::active.
  DeviceBuffer<std::uint32_t> head_active;
};

}  // namespace filterscope::cuda
