#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "../input_mapping.h"
#include "../network.h"

namespace filterscope {

enum class WeightsKind { keras_hdf5, safetensors, synthetic };
std::string_view to_string(WeightsKind kind);

/// The parameters of one convolution.
struct LayerWeights {
  std::vector<float>
      kernel;               ///< Row-major [3, 3, in_channels, out_channels] (Keras' HWIO); cross-correlation.
  std::vector<float> bias;  ///< [out_channels]
};

/// The parameters of a network, or of some of its layers. Every value is finite.
struct Weights {
  std::string name;            ///< File name without its folder, or "synthetic:SEED".
  std::filesystem::path path;  ///< Empty for the stand-in.
  WeightsKind kind = WeightsKind::synthetic;
  std::string sha256;  ///< Of the file's bytes, in hex; empty for the stand-in.
  /// What the network was trained on, as far as it is known; a recipe may use another mapping.
  std::optional<InputMapping> natural_input;
  /// How the values differ from those in the file; phrases, like `notes`.
  std::vector<std::string> conversions;
  /// What else the file tells of its network.
  std::vector<std::string> notes;
  std::vector<std::optional<LayerWeights>>
      layers;  ///< One per convolution of the network; absent layers are empty.

  bool holds(int layer) const { return layers[layer].has_value(); }
  bool synthetic() const { return kind == WeightsKind::synthetic; }
};

/// An input Error that names the first layer that rendering one of `filters` needs and `weights` lacks.
void require_weights(const Network& network, const Weights& weights, std::span<const FilterId> filters);

/// Reads a file of `network`'s weights; its first bytes decide how. Keras HDF5 (`.h5`, names through the
/// attributes layer_names and weight_names; Keras 3 `.weights.h5`; floats of 16 bits or more are converted)
/// and safetensors with torchvision's names (features.N.weight; F32, F16, BF16, F64). What the file says of
/// its conventions (backend, Keras version, order of dimensions, the model's configuration) is followed, and
/// told in `conversions` and `notes`, or refused. Layers that the file lacks stay empty. Anything else (not
/// such a file, damaged, of another network, a wrong shape or type, a value that is not finite, half a layer,
/// no layer of the network) is an input Error. HDF5 files are read in a forked child process, since libhdf5
/// does not withstand damage.
Weights load_weights(const std::filesystem::path& path, const Network& network);

/// A deterministic stand-in, the same numbers on every machine: oriented edges and colour blobs in the first
/// layer, deeper layers random and scaled so that activations neither vanish nor explode.
Weights synthetic_weights(const Network& network, std::uint64_t seed = 0);

/// Where weights may be, in the order they are looked for.
struct WeightsPlace {
  std::string origin;  ///< "--weights", "$FILTERSCOPE_WEIGHTS", "weights/", "~/.keras/models/"
  bool named = false;  ///< By the user, in one of the first two: if nothing is there, nothing else will do.
  std::filesystem::path path;                   ///< A file or a folder; what was given, if `synthetic_seed`.
  std::optional<std::filesystem::path> found;   ///< The file, if one is there.
  std::optional<std::uint64_t> synthetic_seed;  ///< Made-up weights are asked for: `synthetic[:SEED]`.
};
/// Looks in `option` if given, else in $FILTERSCOPE_WEIGHTS (if set), ./weights/ and ~/.keras/models/. In a
/// folder: Keras' official VGG16 without its top, the one with it, the file of weights/fetch.sh's second
/// source, then any other .h5 or .safetensors in alphabetical order; ~/.keras/models/ holds other networks
/// too, so there only names that start with vgg16. Never throws for a missing file; a SEED that is no number
/// is a usage Error.
std::vector<WeightsPlace> weights_places(const std::optional<std::string>& option = std::nullopt);

/// What --weights, or without it $FILTERSCOPE_WEIGHTS, means: `synthetic[:SEED]` or a path; without both, the
/// first file found in weights_places(). Nothing found is an input Error that lists the places and names
/// weights/fetch.sh and `--weights synthetic`; so is a --weights or a $FILTERSCOPE_WEIGHTS that leads
/// nowhere.
Weights resolve_weights(const std::optional<std::string>& option, const Network& network);

}  // namespace filterscope
