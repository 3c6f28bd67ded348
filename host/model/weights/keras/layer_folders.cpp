#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <set>
#include <system_error>
#include <utility>

#include "../../../base/text.h"
#include "other_layers.h"
#include "reading.h"

// Keras 3, `.weights.h5`: no attributes, but a folder per layer with a group `vars` of datasets 0 (kernel)
// and 1 (bias). Folders are named after the layer's class and numbered (`layers/conv2d`, `layers/conv2d_1`,
// in the network's order); since Keras 3.6 the layer's own name is the attribute `name` of `vars`.

namespace filterscope::weights_formats {

namespace {

/// A group `vars`, which holds the weights of a layer.
struct Vars {
  std::string path;
  std::string folder;      ///< Last part of the path above.
  std::string layer_name;  ///< The attribute `name`; may be empty.
  bool empty = false;      ///< A layer without weights.

  /// The path of the model that contains the layer.
  std::string parent() const {
    return path.substr(0, path.size() - std::string_view("/vars").size() - folder.size());
  }
  const std::string& name() const { return layer_name.empty() ? folder : layer_name; }
};

/// A convolution of the network and its weights.
using Matches = std::vector<std::pair<int, const Vars*>>;

int last_layer(const Matches& matches) {
  int last = -1;
  for (const auto& [layer, vars] : matches) last = std::max(last, layer);
  return last;
}

class VarsSearch {
 public:
  explicit VarsSearch(const KerasReading& reading) : reading_(reading) {}

  /// `name` is the last part of `path`, the path of `group`.
  void collect(hid_t group, const std::string& path, const std::string& name, int depth) {
    const Hdf5File& file = reading_.file;
    const std::string where = fmt::format("group {}", printable(path + "/"));
    const hsize_t links = file.link_count(group, where);
    if (++groups_seen_ > kMaxGroups || depth > kMaxDepth || links > kMaxNames) {
      file.fail(
          fmt::format("{}: expected at most {} groups, {} deep, of {} objects each, found more; save the "
                      "network alone",
                      where, kMaxGroups, kMaxDepth, kMaxNames));
    }
    for (hsize_t i = 0; i < links; ++i) {
      const std::string child_name = file.link_name(group, i, where);
      const std::string child_path = path + "/" + child_name;
      reading_.at(printable(child_path));
      const Handle child = file.open(group, child_name, path);
      if (H5Iget_type(child.get()) != H5I_GROUP) continue;
      if (child_name != "vars") {
        collect(child.get(), child_path, child_name, depth + 1);
        continue;
      }
      found_.push_back({.path = child_path,
                        .folder = name,
                        .layer_name = file.string(child.get(), "name", child_path),
                        .empty = file.link_count(child.get(), printable(child_path)) == 0});
    }
  }

  std::vector<Vars> result() && { return std::move(found_); }

 private:
  const KerasReading& reading_;
  int groups_seen_ = 0;
  std::vector<Vars> found_;
};

/// N of "conv2d_N", 0 of "conv2d".
std::optional<int> convolution_count(std::string_view folder) {
  constexpr std::string_view kClass = "conv2d";
  if (!folder.starts_with(kClass)) return std::nullopt;
  folder.remove_prefix(kClass.size());
  if (folder.empty()) return 0;
  int count = 0;
  const auto [end, error] = std::from_chars(folder.data() + 1, folder.data() + folder.size(), count);
  if (folder[0] != '_' || error != std::errc{} || end != folder.data() + folder.size() || count < 1)
    return std::nullopt;
  return count;
}

/// Convolutions without the network's names are taken for the network's only if they are as many, and unless
/// the model's description contradicts.
Matches counted_convolutions(const KerasReading& reading, const std::vector<Vars>& found) {
  const Network& network = reading.network;
  Matches matches;
  for (const Vars& vars : found) {
    if (vars.empty) continue;
    const auto count = convolution_count(vars.folder);
    if (!count) continue;
    if (*count >= network.layer_count()) {
      reading.file.fail(
          fmt::format("{}: expected at most the {} convolutions of {}, found number {}. These are "
                      "another network's weights",
                      printable(vars.path), network.layer_count(), network.name, *count + 1));
    }
    matches.emplace_back(*count, &vars);
  }
  if (matches.empty()) return matches;
  if (reading.is_configured && !reading.is_described) {
    reading.file.fail(
        fmt::format("its convolutions have other names than {}'s, and the model's description does not "
                    "have its {} in sequence: these are another network's weights",
                    network.name, network.layer_count()));
  }
  if (std::ssize(matches) < network.layer_count()) {
    reading.file.fail(fmt::format(
        "holds {}, such as {}, without a name of {}'s, such as {}; only all {}, in this order, would show "
        "that they are this network's. Give the layers these names, and save them again",
        counted(std::ssize(matches), "convolution"), printable(matches.front().second->name()), network.name,
        network.convolutions.front().name, network.layer_count()));
  }
  return matches;
}

/// Keras 3 does not record the order of layers of different classes, so their place is unknown.
std::vector<OtherLayer> others_of(const KerasReading& reading, const std::vector<Vars>& found,
                                  const Matches& matches) {
  const Hdf5File& file = reading.file;
  std::set<std::string> models;
  std::set<const Vars*> held;
  for (const auto& [layer, vars] : matches) {
    models.insert(vars->parent());
    held.insert(vars);
  }
  std::vector<OtherLayer> others;
  for (const Vars& vars : found) {
    const Effect effect = effect_of(vars.folder);
    const bool elsewhere = !models.contains(vars.parent());
    if (held.contains(&vars) || (elsewhere && effect != Effect::preprocessing)) continue;
    OtherLayer other{.path = vars.path, .name = vars.folder, .parent = vars.parent(), .effect = effect};
    if (elsewhere) other.place = Place::elsewhere;
    const Handle group = file.open(file.root(), vars.path, "");
    if (has_link(group.get(), "0")) {
      const Handle dataset = file.open(group.get(), "0", vars.path);
      other.add_weight(shape_of(dataset.get()));
    }
    others.push_back(std::move(other));
  }
  return others;
}

}  // namespace

void read_layer_folders(KerasReading& reading) {
  const Hdf5File& file = reading.file;
  const Network& network = reading.network;
  VarsSearch search(reading);
  search.collect(file.root(), "", "", 0);
  const std::vector<Vars> found = std::move(search).result();
  if (std::ranges::all_of(found, &Vars::empty)) {
    file.fail(
        "HDF5, but not Keras weights: expected the attribute layer_names or a group `vars` for each layer, "
        "found neither");
  }
  Matches matches;
  for (const Vars& vars : found) {
    if (vars.empty) continue;
    refuse_further_convolution(reading, vars.layer_name);
    refuse_further_convolution(reading, vars.folder);
    auto layer = network.find(vars.layer_name);
    if (!layer) layer = network.find(vars.folder);
    if (layer) matches.emplace_back(*layer, &vars);
    reading.contents.push_back(printable(vars.name()));
  }
  // Numbered folders give only the order. Where layers have names, a numbered one is not of this network.
  const bool counted = matches.empty();
  if (counted) matches = counted_convolutions(reading, found);
  if (!reading.is_described)
    judge_other_layers(reading, others_of(reading, found, matches), last_layer(matches), counted);
  for (const auto& [layer, vars] : matches) {
    const std::string& layer_name = network.convolutions[layer].name;
    reading.at(printable(vars->path));
    if (!convolution_count(vars->folder) && vars->folder != layer_name) {
      file.fail(fmt::format("layer {}: expected a Conv2D, found {}: these are another network's weights",
                            layer_name, printable(vars->path)));
    }
    const Handle group = file.open(file.root(), vars->path, "");
    const hsize_t links = file.link_count(group.get(), printable(vars->path));
    hsize_t held = 0;
    for (const char* name : {"0", "1"}) {
      if (!has_link(group.get(), name)) continue;
      ++held;
      const Handle dataset = file.open(group.get(), name, vars->path);
      read_tensor(reading, layer, dataset.get(), fmt::format("{}/{}", vars->path, name), *name == '0');
    }
    if (links > held) {
      file.fail(fmt::format(
          "layer {}: expected a kernel 0 and a bias 1, found more in {}, which a Conv2D does not have "
          "(a quantised or an adapted layer has it); save the plain layer",
          layer_name, printable(vars->path)));
    }
  }
}

}  // namespace filterscope::weights_formats
