#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "../network.h"
#include "weights.h"

/// The readers of weights, one per file format. Internal to host/.
namespace filterscope::weights_formats {

/// One entry per convolution of the network, like Weights::layers.
using Layers = std::vector<std::optional<LayerWeights>>;

/// The images that the network was trained on, as far as its file says.
enum class Images : std::uint8_t {
  usual,                 ///< Those of the format's official VGG16.
  torchvision_features,  ///< Those of torchvision's weights IMAGENET1K_FEATURES.
  unknown
};

/// The result of a reader.
struct FileContents {
  FileContents() = default;
  FileContents(Layers the_layers) : layers(std::move(the_layers)) {}

  Layers layers;
  std::vector<std::string> conversions;  ///< As in Weights::conversions.
  std::vector<std::string> notes;        ///< As in Weights::notes.
  Images images = Images::usual;
};

/// Called before each part of a file is read, with the name of the part.
using At = std::function<void(std::string_view)>;

/// Reads a Keras HDF5 file in this process, which libhdf5 may crash if the file is damaged.
FileContents read_keras_hdf5_unguarded(const std::filesystem::path& file, const Network& network,
                                       const At& at);

/// What a child process may use.
struct ChildLimits {
  unsigned processor_seconds = 10;                         ///< Reading VGG16 takes a tenth of a second.
  std::uint64_t scratch_bytes = std::uint64_t{256} << 20;  ///< In addition to the values themselves.
};

/// Runs `reader` in a forked child with limits on processor time and memory, and returns its result or throws
/// its Error. HDF5 is a large format, and its library crashes, loops or allocates without bound on some
/// damaged files (every release fixes such faults); checking the structure beforehand would take a second
/// HDF5 library. A child contains all of this: the values come back through shared memory of a size that this
/// process has chosen, and however the child ends, this process continues with the layers or an Error that
/// names the file and the part being read. `meanwhile` is called in this process while the child runs; what
/// it throws is rethrown after the child's end, unless the child reported an Error. It replaces a thread:
/// forking while another thread runs could leave the child waiting forever for a lock of that thread.
FileContents read_in_child(const std::filesystem::path& file, const Network& network,
                           const std::function<FileContents(const At& at)>& reader,
                           const ChildLimits& limits = {}, const std::function<void()>& meanwhile = {});

/// Keras' HDF5 files, by read_keras_hdf5_unguarded() in a child process.
FileContents read_keras_hdf5(const std::filesystem::path& file, const Network& network,
                             const ChildLimits& limits = {}, const std::function<void()>& meanwhile = {});

/// safetensors with torchvision's names.
FileContents read_safetensors(const std::filesystem::path& file, const Network& network);

/// The number of each convolution in torchvision's VGG.features, where convolution, ReLU and pool each count
/// as one module.
std::vector<int> torchvision_indices(const Network& network);

}  // namespace filterscope::weights_formats
