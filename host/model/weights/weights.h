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
  /// Row-major [3, 3, in_channels, out_channels] (Keras' HWIO), for cross-correlation.
  std::vector<float> kernel;
  std::vector<float> bias;  ///< [out_channels]
};

/// The parameters of a network, or of some of its layers. Every value is finite.
struct Weights {
  std::string name;            ///< File name without its folder, or "synthetic:SEED".
  std::filesystem::path path;  ///< Empty for synthetic weights.
  WeightsKind kind = WeightsKind::synthetic;
  std::string sha256;  ///< SHA-256 of the file, in hex; empty for synthetic weights.
  /// What the network was trained on, if known; a recipe may use another mapping.
  std::optional<InputMapping> natural_input;
  /// How the values differ from those in the file, in phrases.
  std::vector<std::string> conversions;
  /// What else the file says of its network, in phrases.
  std::vector<std::string> notes;
  /// One per convolution of the network; empty if the file lacks it.
  std::vector<std::optional<LayerWeights>> layers;

  bool holds(int layer) const { return layers[layer].has_value(); }
  bool synthetic() const { return kind == WeightsKind::synthetic; }
};

/// Throws an input Error if `weights` lack a layer that rendering `filters` needs.
void require_weights(const Network& network, const Weights& weights, std::span<const FilterId> filters);

/// Reads a file of `network`'s weights: Keras HDF5 (`.h5`, names in the attributes layer_names and
/// weight_names; Keras 3 `.weights.h5`; floats of 16 bits or more), or safetensors with torchvision's names
/// (features.N.weight; F32, F16, BF16, F64). The first bytes decide which. What the file says of its
/// conventions (backend, Keras version, order of dimensions, the model's configuration) is followed, and
/// noted in `conversions` and `notes`, or rejected. Layers that the file lacks remain empty. Anything else
/// (another format or network, damage, a wrong shape or type, a value that is not finite, half a layer, no
/// layer of the network) is an input Error. HDF5 files are read in a forked child process, since damaged ones
/// can crash libhdf5.
Weights load_weights(const std::filesystem::path& path, const Network& network);

/// Made-up weights that need no file, the same numbers on every machine: oriented edges and colour blobs in
/// the first layer; random deeper layers, scaled so that activations neither vanish nor explode.
Weights synthetic_weights(const Network& network, std::uint64_t seed = 0);

/// A place where weights are looked for.
struct WeightsPlace {
  std::string origin;          ///< "--weights", "$FILTERSCOPE_WEIGHTS", "weights/", "~/.keras/models/"
  bool named = false;          ///< The user named it, in one of the first two; no other place may replace it.
  std::filesystem::path path;  ///< A file or a folder; with `synthetic_seed`, the option.
  std::optional<std::filesystem::path> found;   ///< The file, if there is one.
  std::optional<std::uint64_t> synthetic_seed;  ///< Set for `synthetic[:SEED]`.
};
/// The places, in order: `option` if given, else $FILTERSCOPE_WEIGHTS (if set), ./weights/ and
/// ~/.keras/models/. A folder is searched for Keras' official VGG16 without its top, the one with it, the
/// file of weights/fetch.sh's second source, then any other .h5 or .safetensors in alphabetical order; in
/// ~/.keras/models/, which holds other networks too, their names must start with vgg16. Never throws for a
/// missing file; a SEED that is not a number is a usage Error.
std::vector<WeightsPlace> weights_places(const std::optional<std::string>& option = std::nullopt);

/// The weights that --weights, or without it $FILTERSCOPE_WEIGHTS, names: `synthetic[:SEED]` or a path;
/// without both, the first file found in weights_places(). If no file is found, even a named one, throws an
/// input Error that lists the places and mentions weights/fetch.sh and `--weights synthetic`.
Weights resolve_weights(const std::optional<std::string>& option, const Network& network);

}  // namespace filterscope
