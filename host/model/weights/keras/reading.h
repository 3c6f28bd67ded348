#pragma once

#include <hdf5.h>

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "../../network.h"
#include "../formats.h"
#include "../tensors.h"
#include "conventions.h"
#include "hdf5_file.h"

namespace filterscope::weights_formats {

inline constexpr int kMaxDepth = 10;
inline constexpr int kMaxGroups = 20000;
inline constexpr std::size_t kMaxDatasets = 20000;

/// What is known of a Keras file while it is read.
struct KerasReading {
  const Hdf5File& file;
  const Network& network;
  const At& at;

  bool is_configured = false;  ///< The model's configuration is there.
  bool is_described = false;   ///< It describes the network's convolutions, so nothing need be guessed.
  KerasConventions conventions = {};
  std::vector<std::string> before = {};  ///< What images pass through before the first convolution.
  bool is_before_uncertain = false;      ///< They may not.

  std::optional<KernelOrder> order = {};   ///< Order of the kernels read so far.
  std::vector<PartialLayer> parts = {};    ///< One per convolution.
  std::vector<std::string> contents = {};  ///< Names of the file's layers.
};

/// Reads a kernel or bias of one of the network's convolutions into reading.parts.
void read_tensor(KerasReading& reading, int layer, hid_t dataset, const std::string& dataset_path,
                 bool is_kernel);

/// Throws an Error if `name` is that of a convolution which the network lacks in one of its blocks. Keras
/// gives the convolutions of all VGGs the same names, so a further one shows that this is another network.
void refuse_further_convolution(const KerasReading& reading, std::string_view name);

/// Reads the layers of a file of Keras 1 or 2, which attributes list; `root` holds `layer_names`.
void read_listed_layers(KerasReading& reading, hid_t root, const std::string& root_path);

/// Reads the layers of a `.weights.h5` of Keras 3, which has a folder for each.
void read_layer_folders(KerasReading& reading);

}  // namespace filterscope::weights_formats
