#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "host/ascent/recipe.h"
#include "host/model/network.h"
#include "host/model/weights/weights.h"
#include "host/run/filter_gradient.h"

/// An independent implementation of the ascent: double precision, plain loops, one image at a time. It shares
/// the data types of the network, the recipe and the weights with the program, but no code of an engine.
/// Every function is one formula, to be compared with; errors are only handled by assertions on shapes.
namespace filterscope::reference {

/// One image or feature map, row-major [height, width, channels] (HWC).
struct Map {
  int height = 0;
  int width = 0;
  int channels = 0;
  std::vector<double> values;

  Map() = default;
  /// A map of zeros.
  Map(Extent extent, int channel_count);
  /// Takes `extent.height * extent.width * channel_count` values, row-major HWC.
  Map(Extent extent, int channel_count, std::span<const float> from);

  Extent extent() const { return {height, width}; }
  double& at(int y, int x, int channel) { return values[index(y, x, channel)]; }
  double at(int y, int x, int channel) const { return values[index(y, x, channel)]; }

 private:
  std::size_t index(int y, int x, int channel) const;
};

/// The values rounded to float, in the same order.
std::vector<float> to_float(const Map& map);

/// 3x3 cross-correlation, stride 1, zero padding 1, plus bias. `kernel` is [3, 3, in, out] (HWIO), `bias`
/// [out]; the number of output channels is that of `bias`.
Map convolve(const Map& input, std::span<const float> kernel, std::span<const float> bias);
/// Gradient with respect to convolve()'s input, given the one with respect to its output.
Map convolve_input_gradient(const Map& output_gradient, std::span<const float> kernel, int in_channels);

/// max(x, 0).
Map relu(const Map& input);
/// The gradient passes where `output`, relu()'s result, is above zero; at exactly zero it is zero, as in
/// TensorFlow.
Map relu_gradient(const Map& output_gradient, const Map& output);

/// Maximum over 2x2 windows of stride 2; an odd last row or column is dropped (floor).
Map max_pool(const Map& input);
/// The gradient goes to the first maximum of each window in row-major order, as in TensorFlow; elsewhere it
/// is zero.
Map max_pool_gradient(const Map& output_gradient, const Map& input);

/// input[c] = scale[c] * image[source[c]] + offset[c].
Map apply_mapping(const InputMapping& mapping, const Map& image);
/// Gradient with respect to apply_mapping()'s image. A source channel used twice gets both gradients.
Map mapping_gradient(const InputMapping& mapping, const Map& input_gradient);

/// A loss and its gradient with respect to the image, [H, W, 3].
struct Gradient {
  double loss = 0;
  double objective = 0;  ///< The value whose gradient it is: the loss, or the mean before the ReLU.
  Map gradient;
  GradientMasks masks;  ///< The masks through which it passed.

  /// Square root of the sum of squares over the whole image.
  double norm() const;
};

/// The map of `layer` (an index into network.convolutions) after its ReLU and before its pool, for an image
/// of three channels: [map height, map width, filters of the layer].
Map activation(const Network& network, const Weights& weights, const InputMapping& mapping, int layer,
               const Map& image);

/// The mean over all positions of `filter`'s map in `layer` after its ReLU, and its gradient; with `rescue`,
/// if no position is above zero, the gradient of the mean before the ReLU, bias included. All filters of the
/// target layer are computed, forward and backward.
Gradient loss_and_gradient(const Network& network, const Weights& weights, const InputMapping& mapping,
                           int layer, int filter, const Map& image, bool rescue = true);
/// The same for any objective: the mean over the positions that it counts, and the gradient of what the
/// ascent climbs, which is that of minus the mean where the objective minimises.
Gradient loss_and_gradient(const Network& network, const Weights& weights, const InputMapping& mapping,
                           const Objective& objective, int layer, int filter, const Map& image);

/// The same gradient where others say where it passes: with loss_and_gradient()'s masks, its gradient.
/// `image` is the image's extent.
Map gradient_through(const GradientMasks& masks, const Network& network, const Weights& weights,
                     const InputMapping& mapping, int layer, int filter, Extent image);

/// The image after the first step of the recipe's first stage.
Map ascent_step(const Recipe& recipe, const Map& image, const Map& gradient);

/// The result of `ascend`.
struct Ascent {
  std::vector<double> losses;  ///< losses[i] is that of the image before step i + 1.
  double final_loss = 0;       ///< The loss of the finished image.
  double gradient_norm = 0;    ///< The norm of the last step's gradient, before its normalisation.
  Map image;                   ///< The finished image as the recipe holds it, of the last stage.
};
/// `iterations` steps of the first stage from `image`, whose extent replaces the stage's. A zero gradient
/// leaves the image unchanged, and the ascent continues.
Ascent ascend(const Network& network, const Weights& weights, const Recipe& recipe, int layer, int filter,
              const Map& image, int iterations);
/// All stages from the filter's drawn start.
Ascent ascend(const Network& network, const Weights& weights, const Recipe& recipe, std::uint64_t seed,
              int layer, int filter);

/// The start image of one filter, row-major [height, width, 3]: value i is word i % 4 of block i / 4 of the
/// filter's stream of initial images, mapped to [low, high).
std::vector<float> noise_image(const Start& start, std::uint64_t seed, int layer, int filter, Extent extent);

/// floor(255 * (x - min) / (max - min) + 0.5) with one minimum and maximum over all values; all 0 for a
/// constant image.
std::vector<std::uint8_t> min_max_picture(std::span<const double> image);
/// The same for float values, computed in double precision.
std::vector<std::uint8_t> min_max_picture(std::span<const float> image);

}  // namespace filterscope::reference
