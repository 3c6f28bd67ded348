#pragma once

#include <bit>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "../network.h"
#include "formats.h"

/// What the readers do with the tensors they find: order their dimensions, check them, and join kernels and
/// biases to layers.
namespace filterscope::weights_formats {

/// The order of a kernel's dimensions in a file.
enum class KernelOrder {
  hwio,  ///< [3, 3, in, out]: TensorFlow, Keras, Flax
  oihw,  ///< [out, in, 3, 3]: PyTorch, Theano
  ohwi   ///< [out, 3, 3, in]: MLX
};
std::vector<std::uint64_t> kernel_shape(KernelOrder order, const Convolution& convolution);
/// "[out, in, 3, 3], the order of Theano and PyTorch" if `shape` is the kernel's in that order; empty if it
/// is the kernel's in no order.
std::string order_text(std::span<const std::uint64_t> shape, const Convolution& convolution);
/// A kernel in the order of LayerWeights; if `rotated`, also rotated by 180 degrees.
std::vector<float> to_hwio(std::vector<float> values, KernelOrder order, const Convolution& convolution,
                           bool rotated = false);

/// bfloat16 to binary32.
inline float from_bfloat(std::uint16_t bits) {
  return std::bit_cast<float>(std::uint32_t{bits} << 16);
}

/// "[3, 3, 3, 64]"
std::string shape_text(std::span<const std::uint64_t> shape);

/// Throws an Error that names file, layer, tensor and index if a value is not finite. `shape` is the tensor's
/// in the file.
void require_finite(const std::filesystem::path& file, const std::string& layer, std::string_view tensor,
                    std::span<const std::uint64_t> shape, std::span<const float> values);

/// One layer while a file is read: its tensors and their names in the file.
struct PartialLayer {
  std::optional<std::vector<float>> kernel;  ///< [3, 3, in, out]
  std::optional<std::vector<float>> bias;
  std::string kernel_name;
  std::string bias_name;
};

/// Joins kernels and biases; `layers` has one entry per convolution. Throws an Error for half a layer, and if
/// there is no layer at all; `contents` then says what the file holds instead.
Layers whole_layers(const std::filesystem::path& file, const Network& network,
                    std::vector<PartialLayer> layers, std::span<const std::string> contents);

}  // namespace filterscope::weights_formats
