#pragma once

#include <bit>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "../network.h"
#include "weights.h"

/// What the readers of weight files share. Internal to host/.
namespace filterscope::weights_formats {

/// One entry per convolution of the network, like Weights::layers.
using Layers = std::vector<std::optional<LayerWeights>>;

/// What images the network was trained on, as far as its file tells.
enum class Images : std::uint8_t {
  usual,                 ///< Those of the format's official VGG16.
  torchvision_features,  ///< Those of torchvision's weights IMAGENET1K_FEATURES.
  unknown
};

/// What a reader gives.
struct FileContents {
  FileContents() = default;
  FileContents(Layers the_layers) : layers(std::move(the_layers)) {}

  Layers layers;
  std::vector<std::string> conversions;  ///< As Weights::conversions.
  std::vector<std::string> notes;        ///< As Weights::notes.
  Images images = Images::usual;
};

/// Told what is about to be read.
using At = std::function<void(std::string_view)>;

/// Reads in this process, and so at libhdf5's mercy when the file is damaged.
FileContents read_keras_hdf5_unguarded(const std::filesystem::path& file, const Network& network,
                                       const At& at);

/// What a child may use.
struct ChildLimits {
  unsigned processor_seconds = 10;                         ///< Reading VGG16 takes a tenth of one.
  std::uint64_t scratch_bytes = std::uint64_t{256} << 20;  ///< Beside the values themselves.
};

/// Runs `reader` in a forked child with limits on processor time and memory, and gives what it returns or the
/// Error it throws. HDF5 is a large format, and its library crashes, loops or allocates without bound on some
/// damaged files (its makers fix such faults in every release); checking the structure beforehand would take
/// a second HDF5 library. In a child none of it matters: the values come back through shared memory of a size
/// this process has chosen, and however the child ends, this process goes on with the layers or an Error that
/// names the file and what was being read. `meanwhile` is called in this process once the child runs; what it
/// throws is thrown after the child's end, unless the child has something to say. It takes the place of a
/// thread of its own: while one runs, nothing may be forked, since the child could wait for ever for a lock
/// which that thread had.
FileContents read_in_child(const std::filesystem::path& file, const Network& network,
                           const std::function<FileContents(const At& at)>& reader,
                           const ChildLimits& limits = {}, const std::function<void()>& meanwhile = {});

/// Keras' HDF5 files, by read_keras_hdf5_unguarded() in a child process.
FileContents read_keras_hdf5(const std::filesystem::path& file, const Network& network,
                             const ChildLimits& limits = {}, const std::function<void()>& meanwhile = {});

/// What the attribute `model_config` of a Keras file, or the config.json of a .keras archive, says about the
/// network's convolutions.
struct KerasModel {
  std::string damage;  ///< Why it cannot be read, after its name; empty if it can.
  /// How the model differs from the network, in a sentence without its full stop; empty if it does not.
  std::string difference;
  /// What the images pass through before the first convolution, "rescaling (Rescaling)"; empty: nothing.
  std::vector<std::string> before;
  bool described = false;  ///< The model has convolutions of the network.
};
/// `model_config` is Keras' JSON of a Functional or Sequential model, of Keras 1 to 3; other models say
/// nothing. Convolutions are known by their names, or, where none has one of the network's, by their order if
/// they are as many; those that the model lacks are not missed.
KerasModel examine_keras_model(std::string_view model_config, const Network& network);

/// safetensors with torchvision's names.
FileContents read_safetensors(const std::filesystem::path& file, const Network& network);

/// torchvision numbers the modules of VGG.features: convolution, ReLU and pool each count one.
std::vector<int> torchvision_indices(const Network& network);

/// In which order a file keeps the dimensions of a kernel.
enum class KernelOrder {
  hwio,  ///< [3, 3, in, out]: TensorFlow, Keras, Flax
  oihw,  ///< [out, in, 3, 3]: PyTorch, Theano
  ohwi   ///< [out, 3, 3, in]: MLX
};
std::vector<std::uint64_t> kernel_shape(KernelOrder order, const Convolution& convolution);
/// "[out, in, 3, 3], the order of PyTorch and Theano", if a kernel of that shape would be in one; else empty.
std::string order_text(std::span<const std::uint64_t> shape, const Convolution& convolution);
/// To LayerWeights' order; `rotated`: and by 180 degrees.
std::vector<float> to_hwio(std::vector<float> values, KernelOrder order, const Convolution& convolution,
                           bool rotated = false);

/// bfloat16 to binary32.
inline float from_bfloat(std::uint16_t bits) {
  return std::bit_cast<float>(std::uint32_t{bits} << 16);
}

/// One layer while a file is read: its tensors and the names they have in the file.
struct PartialLayer {
  std::optional<std::vector<float>> kernel;  ///< [3, 3, in, out]
  std::optional<std::vector<float>> bias;
  std::string kernel_name;
  std::string bias_name;
};

/// Whole layers out of what was found; `layers` has one entry per convolution. Half a layer and no layer at
/// all are Errors; `contents` tells in the latter case what the file holds instead.
Layers whole_layers(const std::filesystem::path& file, const Network& network,
                    std::vector<PartialLayer> layers, std::span<const std::string> contents);

/// "[3, 3, 3, 64]"
std::string shape_text(std::span<const std::uint64_t> shape);

/// An Error that names file, layer, tensor and index if a value is not finite. `shape` is the tensor's own.
void require_finite(const std::filesystem::path& file, const std::string& layer, std::string_view tensor,
                    std::span<const std::uint64_t> shape, std::span<const float> values);

}  // namespace filterscope::weights_formats
