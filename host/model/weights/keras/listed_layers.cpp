#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "../../../base/text.h"
#include "other_layers.h"
#include "reading.h"

// Keras 1 and 2: the attribute `layer_names` names a group per layer, whose attribute `weight_names` names
// its datasets: `block1_conv1_W_1:0`, or a nested `block1_conv1/kernel:0`. A network that is a layer of
// another one has one group with all its datasets, told apart by the first part of their names.

namespace filterscope::weights_formats {

namespace {

/// A dataset that the attributes name.
struct Listed {
  std::string group;
  std::string group_path;
  std::string name;  ///< Empty for a layer without weights.
  int position = 0;  ///< In its group.
  std::optional<int> layer;
};

int last_layer(const std::vector<Listed>& all) {
  int last = -1;
  for (const Listed& listed : all) last = std::max(last, listed.layer.value_or(-1));
  return last;
}

bool is_normalisation(std::string_view name) {
  name.remove_prefix(name.rfind('/') + 1);
  return name.starts_with("gamma") || name.starts_with("beta") || name.starts_with("moving_");
}

std::optional<int> layer_of(const Network& network, std::string_view group_name,
                            std::string_view weight_name) {
  if (const auto layer = network.find(group_name)) return layer;
  while (true) {
    const std::size_t slash = weight_name.find('/');
    if (slash == std::string_view::npos) return std::nullopt;
    if (const auto layer = network.find(weight_name.substr(0, slash))) return layer;
    weight_name.remove_prefix(slash + 1);
  }
}

/// Whether a dataset is a kernel or a bias, by the last part of its name, such as `kernel:0`,
/// `block1_conv1_W_1:0` and `param_0`; nothing if it is neither.
std::optional<bool> is_kernel(std::string_view name, std::string_view layer, int position) {
  std::string_view last = name.substr(name.rfind('/') + 1);
  last = last.substr(0, last.find_last_not_of("0123456789:_") + 1);
  if (last.starts_with(layer) && last.substr(layer.size()).starts_with('_'))
    last.remove_prefix(layer.size() + 1);
  if (last == "kernel" || last == "W") return true;
  if (last == "bias" || last == "b") return false;
  if (last == "param" && position < 2) return position == 0;
  return std::nullopt;
}

/// A layer wrapped around a convolution contains the convolution's name in its own.
void refuse_wrapper(const KerasReading& reading, const std::string& group, const std::string& path) {
  const Network& network = reading.network;
  if (network.find(group) || std::ranges::none_of(network.convolutions, [&](const Convolution& convolution) {
        return group.find(convolution.name) != std::string::npos;
      }))
    return;
  reading.file.fail(fmt::format(
      "holds {} in a layer around the convolutions of {}, which has no such layer: these are another "
      "network's weights",
      printable(path), network.name));
}

/// Keras lists layers in the order in which images pass through them, except that in a model that is a layer
/// of another one, those whose weights are not trained come last.
std::vector<OtherLayer> others_of(const KerasReading& reading, hid_t root, const std::string& root_path,
                                  const std::vector<Listed>& all) {
  const auto held = [](const Listed& listed) { return listed.layer.has_value(); };
  const auto first = std::ranges::find_if(all, held);
  const auto last = std::ranges::find_if(all.rbegin(), all.rend(), held).base();
  std::set<std::string> models;
  for (const Listed& listed : all)
    if (listed.layer) models.insert(listed.group);
  std::vector<OtherLayer> others;
  std::map<std::string, std::size_t> known;  // By the layer's path.
  for (auto listed = all.begin(); listed != all.end(); ++listed) {
    const bool nested = models.contains(listed->group);
    if (listed->layer || (listed >= last && !nested)) continue;
    const std::string path = listed->group_path + (listed->name.empty() ? "" : "/" + listed->name);
    if (nested) refuse_wrapper(reading, listed->group, path);
    const std::string layer = listed->name.substr(0, listed->name.rfind('/') + 1);
    const auto [entry, is_new] = known.try_emplace(listed->group_path + "/" + layer, others.size());
    if (is_new) {
      OtherLayer other{.path = path, .name = listed->group, .parent = listed->group_path};
      if (nested && !layer.empty()) {
        other.name = layer.substr(0, layer.size() - 1);
        other.name.erase(0, other.name.rfind('/') + 1);
      }
      other.effect = is_normalisation(listed->name) ? Effect::normalisation : effect_of(other.name);
      other.may_follow = listed >= last && listed->name.find("moving_") == std::string::npos;
      if (!nested || other.effect == Effect::none)
        other.place = listed < first ? Place::before : listed < last ? Place::among : Place::unknown;
      others.push_back(std::move(other));
    }
    if (listed->name.empty()) continue;
    const Handle dataset = reading.file.open(root, listed->group + "/" + listed->name, root_path);
    others[entry->second].add_weight(shape_of(dataset.get()));
  }
  return others;
}

std::vector<Listed> listed_datasets(KerasReading& reading, hid_t root, const std::string& root_path) {
  const Hdf5File& file = reading.file;
  std::vector<Listed> all;
  for (const std::string& group_name : file.names(root, "layer_names", root_path)) {
    if (reading.contents.size() < kMaxNames) reading.contents.push_back(printable(group_name));
    reading.at(printable(group_name));
    refuse_further_convolution(reading, group_name);
    const Handle group = file.open(root, group_name, root_path);
    const std::string group_path = fmt::format("{}/{}", root_path, group_name);
    if (!has_names(group.get(), "weight_names")) {
      if (reading.network.find(group_name)) {
        file.fail(fmt::format("group {}: expected Keras' attribute weight_names, found none",
                              printable(group_path)));
      }
      continue;
    }
    int position = 0;
    const std::vector<std::string> listed = file.names(group.get(), "weight_names", group_path);
    if (listed.empty())
      all.push_back({.group = group_name, .group_path = group_path, .name = "", .layer = {}});
    for (const std::string& name : listed) {
      for (std::string_view rest = name; !rest.empty();) {
        const std::size_t slash = std::min(rest.find('/'), rest.size());
        refuse_further_convolution(reading, rest.substr(0, slash));
        rest.remove_prefix(std::min(slash + 1, rest.size()));
      }
      all.push_back({.group = group_name,
                     .group_path = group_path,
                     .name = name,
                     .position = position++,
                     .layer = layer_of(reading.network, group_name, name)});
      if (all.size() > kMaxDatasets) file.fail(fmt::format("expected at most {} datasets", kMaxDatasets));
    }
  }
  return all;
}

}  // namespace

void read_listed_layers(KerasReading& reading, hid_t root, const std::string& root_path) {
  const Hdf5File& file = reading.file;
  reading.at("the attribute layer_names");
  const std::vector<Listed> all = listed_datasets(reading, root, root_path);
  if (!reading.is_described)
    judge_other_layers(reading, others_of(reading, root, root_path, all), last_layer(all), false);
  for (const Listed& listed : all) {
    if (!listed.layer) continue;
    const Handle group = file.open(root, listed.group, root_path);
    const Handle dataset = file.open(group.get(), listed.name, listed.group_path);
    const std::string path = fmt::format("{}/{}", listed.group_path, listed.name);
    const std::string& layer = reading.network.convolutions[*listed.layer].name;
    const auto kernel = is_kernel(listed.name, layer, listed.position);
    if (!kernel) {
      file.fail(fmt::format(
          "layer {}: expected a kernel and a bias, found also {}, which a Conv2D does not have (a pruned, "
          "quantised, normalised or adapted layer has it); save the plain layer",
          layer, printable(path)));
    }
    read_tensor(reading, *listed.layer, dataset.get(), path, *kernel);
  }
}

}  // namespace filterscope::weights_formats
