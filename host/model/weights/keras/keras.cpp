#include <fmt/format.h>
#include <fmt/ranges.h>
#include <hdf5.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <span>
#include <system_error>
#include <utility>

#include "../../../base/text.h"
#include "../formats.h"
#include "../tensors.h"
#include "conventions.h"
#include "hdf5_file.h"
#include "model_config.h"
#include "reading.h"

// Keras has written three layouts, all of which are read:
//   Keras 1 and 2, weights: see listed_layers.cpp.
//   Keras 1 and 2, whole model: the same inside the group `model_weights`.
//   Keras 3, `.weights.h5`: see layer_folders.cpp.
// A whole model has its configuration in the attribute `model_config`. Sizes in the file are compared with
// those of the network before anything relies on them.

namespace filterscope::weights_formats {

namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMaxConfigLength = std::size_t{16} << 20;

void read_model_config(KerasReading& reading) {
  const Hdf5File& file = reading.file;
  reading.at("the attribute model_config");
  std::string config = file.string(file.root(), "model_config", "", kMaxConfigLength);
  std::string where = "the attribute model_config";
  if (config.empty() && file.path().filename() == "model.weights.h5") {
    // From a .keras archive, which holds the model's configuration next to its weights.
    std::error_code error;
    const fs::path neighbour = file.path().parent_path() / "config.json";
    if (const auto size = fs::file_size(neighbour, error); !error && size <= kMaxConfigLength) {
      std::ifstream stream(neighbour, std::ios::binary);
      config.assign(std::istreambuf_iterator<char>(stream), {});
      where = "the config.json next to this file";
    }
  }
  if (config.empty()) return;
  KerasModel model = examine_keras_model(config, reading.network);
  if (!model.damage.empty())
    file.fail(fmt::format("{} {}; it is damaged: get it again", where, model.damage));
  if (!model.difference.empty()) {
    file.fail(fmt::format("{}: the model of {} is another network than {}", model.difference, where,
                          reading.network.name));
  }
  reading.before = std::move(model.before);
  reading.is_described = model.described;
  reading.is_configured = true;
}

}  // namespace

void read_tensor(KerasReading& reading, int layer, hid_t dataset_id, const std::string& dataset_path,
                 bool is_kernel) {
  const Hdf5File& file = reading.file;
  const KerasConventions& conventions = reading.conventions;
  const Convolution& convolution = reading.network.convolutions[layer];
  const std::string where = fmt::format("layer {}: dataset {}", convolution.name, printable(dataset_path));
  reading.at(where);
  const Dataset dataset = file.dataset(dataset_id, dataset_path, where);
  const std::vector<std::uint64_t>& shape = dataset.shape;

  std::vector<std::uint64_t> expected{static_cast<std::uint64_t>(convolution.out_channels)};
  if (is_kernel) expected = kernel_shape(KernelOrder::hwio, convolution);
  const bool oihw = is_kernel && shape != expected && shape == kernel_shape(KernelOrder::oihw, convolution);
  if (oihw && conventions.may_be_oihw) expected = shape;
  if (shape != expected || !dataset.is_readable()) {
    std::string advice = "Save the weights as float32";
    if (const std::string order = is_kernel ? order_text(shape, convolution) : ""; shape != expected) {
      if (order.empty()) {
        advice = fmt::format("These are not {}'s weights", reading.network.name);
      } else if (oihw && conventions.source.empty()) {
        advice = fmt::format(
            "This is {}, and nothing says whether the kernels are rotated, as Theano's are. Keras' own "
            "file in that order says so in its name (vgg16_weights_th_dim_ordering_th_kernels_notop.h5); "
            "weights/fetch.sh downloads the same weights in TensorFlow's order",
            order);
      } else {
        advice = fmt::format(
            "This is {}, in which Keras does not store kernels{}; transpose them to [3, 3, in, out], or "
            "download the network's with weights/fetch.sh",
            order, conventions.source.empty() ? "" : fmt::format(" ({})", conventions.source));
      }
    }
    file.fail(fmt::format("{}: expected float32 {}, found {} {}. {}", where, shape_text(expected),
                          dataset.type_text(), shape_text(shape), advice));
  }
  if (is_kernel) {
    const KernelOrder order = oihw ? KernelOrder::oihw : KernelOrder::hwio;
    if (reading.order.value_or(order) != order) {
      file.fail(fmt::format("{}: expected the order of dimensions of the kernels before it, found {}", where,
                            order_text(shape, convolution)));
    }
    reading.order = order;
  }

  PartialLayer& part = reading.parts[layer];
  std::optional<std::vector<float>>& target = is_kernel ? part.kernel : part.bias;
  std::string& target_name = is_kernel ? part.kernel_name : part.bias_name;
  if (target)
    file.fail(fmt::format("{}: the layer already has a {}, in {}", where, is_kernel ? "kernel" : "bias",
                          target_name));
  std::vector<float> values = file.read_floats(dataset, where);
  require_finite(file.path(), convolution.name, fmt::format("dataset {}", printable(dataset_path)), expected,
                 values);
  target = is_kernel ? to_hwio(std::move(values), *reading.order, convolution, conventions.rotated)
                     : std::move(values);
  target_name = printable(dataset_path);
}

void refuse_further_convolution(const KerasReading& reading, std::string_view name) {
  const auto is_number = [](std::string_view text) {
    return !text.empty() && text.find_first_not_of("0123456789") == std::string_view::npos;
  };
  constexpr std::string_view kBlock = "block";
  constexpr std::string_view kConvolution = "_conv";
  const std::size_t at = name.rfind(kConvolution);
  // The model's description has been compared with the network already.
  if (reading.is_described || !name.starts_with(kBlock) || at == std::string_view::npos ||
      reading.network.find(name))
    return;
  const std::string_view block = name.substr(0, at + kConvolution.size());
  if (!is_number(name.substr(kBlock.size(), at - kBlock.size())) || !is_number(name.substr(block.size())))
    return;
  if (std::ranges::none_of(reading.network.convolutions, [&](const Convolution& convolution) {
        return convolution.name.starts_with(block);
      }))
    return;
  reading.file.fail(fmt::format("holds {}, which {} does not have: these are another network's weights",
                                printable(name), reading.network.name));
}

FileContents read_keras_hdf5_unguarded(const fs::path& path, const Network& network, const At& at) {
  at("the superblock");
  const Hdf5File file(path);
  KerasReading reading{.file = file, .network = network, .at = at};
  reading.parts.resize(network.convolutions.size());
  const auto read_conventions_of = [&](hid_t weights, const std::string& weights_path) {
    at("the attributes backend and keras_version");
    reading.conventions = read_conventions(file, weights, weights_path);
  };

  read_model_config(reading);
  if (has_names(file.root(), "layer_names")) {
    read_conventions_of(file.root(), "");
    read_listed_layers(reading, file.root(), "");
  } else if (has_link(file.root(), "model_weights")) {
    const Handle weights = file.open(file.root(), "model_weights", "");
    if (!has_names(weights.get(), "layer_names"))
      file.fail("group /model_weights: expected Keras' attribute layer_names, found none");
    read_conventions_of(weights.get(), "/model_weights");
    read_listed_layers(reading, weights.get(), "/model_weights");
  } else if (has_attribute(file.root(), "nb_layers")) {
    file.fail(
        "weights of Keras 0, which number their layers (layer_0/param_0) and give neither names nor the "
        "backend; weights/fetch.sh downloads the same network's for today's Keras");
  } else {
    read_conventions_of(file.root(), "");
    read_layer_folders(reading);
  }

  FileContents result = whole_layers(path, network, std::move(reading.parts), reading.contents);
  if (reading.order && *reading.order != KernelOrder::hwio)
    result.conversions.push_back("kernels transposed from [out, in, 3, 3]");
  if (reading.conventions.rotated) {
    result.conversions.push_back(
        fmt::format("kernels rotated by 180 degrees, since {}", reading.conventions.source));
  }
  if (!reading.before.empty()) {
    const std::span before(reading.before);
    result.images = Images::unknown;
    result.notes.push_back(
        fmt::format("without the layers that its images {}pass through before {}: {}",
                    reading.is_before_uncertain ? "may " : "", network.convolutions.front().name,
                    fmt::join(before.first(std::min<std::size_t>(before.size(), 5)), ", ")));
  }
  return result;
}

FileContents read_keras_hdf5(const fs::path& file, const Network& network, const ChildLimits& limits,
                             const std::function<void()>& meanwhile) {
  const auto reader = [&](const At& at) {
    // No filter plug-ins: they are foreign code, chosen by a number in the file.
    H5PLset_loading_state(0);
    return read_keras_hdf5_unguarded(file, network, at);
  };
  return read_in_child(file, network, reader, limits, meanwhile);
}

}  // namespace filterscope::weights_formats
