#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "reading.h"

/// The layers of a Keras file that are none of the network's convolutions: whether they make it another
/// network, or change the images it was trained on.
namespace filterscope::weights_formats {

/// What a layer does to the maps that pass through it, as far as it matters here.
enum class Effect : std::uint8_t {
  none,
  preprocessing,
  normalisation,
  activation,
  pooling,
  convolution,
  other
};
/// By the layer's name, which Keras derives from its class unless the user gives another.
Effect effect_of(std::string_view name);

/// Where a layer is in relation to the network's convolutions.
enum class Place : std::uint8_t {
  before,
  among,
  unknown,
  elsewhere  ///< In another model, which images may pass through.
};

struct OtherLayer {
  std::string path;    ///< In the file.
  std::string name;    ///< In its model; perhaps its class and a number.
  std::string parent;  ///< Path of its model.
  Effect effect = Effect::none;
  Place place = Place::unknown;
  bool may_follow = false;  ///< It may come after the last convolution.
  bool has_weights = false;
  std::size_t rank = 0;        ///< The highest of its weights.
  std::uint64_t channels = 0;  ///< How many it outputs, or normalises; 0: unknown.

  void add_weight(std::span<const std::uint64_t> shape);
  /// Whether it makes a network another one by being part of it. A matrix does not: it is on another branch.
  bool alters() const { return effect != Effect::none || (has_weights && rank != 2); }
  /// Whether `channels` is the number of its outputs.
  bool has_outputs() const { return rank >= 2 && (effect == Effect::none || effect == Effect::convolution); }
};

/// A layer between the network's convolutions makes them another network's, which is an Error; a layer before
/// them changes their images, which `reading` notes. `last` is the last convolution in the file; `counted`
/// says that the file's convolutions have no names.
void judge_other_layers(KerasReading& reading, const std::vector<OtherLayer>& others, int last, bool counted);

}  // namespace filterscope::weights_formats
