#include "model_config.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "../../../base/text.h"

// A model's configuration is {"class_name": "Functional", "config": {"layers": [LAYER, ...]}}; in Keras 1 and
// 2 the class may also be "Model" or "Sequential", whose `config` may be a bare list. A LAYER is
// {"class_name", "config": {"name", ...}}, in a Functional model with its "inbound_nodes", and may itself be
// a model. Nodes name the layers they come from, at some depth, as ["name", 0, 0, ...] (Keras 1 and 2) or
// {"keras_history": ["name", 0, 0]} (Keras 3). Keras 1 has other names for some settings.

namespace filterscope::weights_formats {

namespace {

using nlohmann::json;

/// The deepest nesting of models; each takes four levels of JSON.
constexpr int kMaxDepth = 32;
constexpr int kMaxJsonDepth = 4 * kMaxDepth + 20;

struct Model;

struct Layer {
  std::string name;
  std::string class_name;
  json config;
  json nodes;
  std::vector<std::size_t> inputs;  ///< Layers of the same model.
  std::vector<Model> model;         ///< Has one element if the layer is a model or a TimeDistributed one.
};

struct Model {
  std::vector<Layer> layers;
};

/// Replaces the numbers that are not finite, which Python writes and JSON does not have, by null.
std::string without_nan(std::string_view text) {
  constexpr std::array<std::string_view, 3> kWords{"NaN", "Infinity", "-Infinity"};
  std::string result;
  bool in_string = false;
  while (!text.empty()) {
    std::size_t length = in_string && text.front() == '\\' ? std::min<std::size_t>(2, text.size()) : 1;
    if (text.front() == '"') in_string = !in_string;
    const auto word =
        std::ranges::find_if(kWords, [&](std::string_view start) { return text.starts_with(start); });
    if (!in_string && word != kWords.end()) {
      length = word->size();
      result += "null";
    } else {
      result += text.substr(0, length);
    }
    text.remove_prefix(length);
  }
  return result;
}

std::string text_of(const json& value, const char* key) {
  const auto found = value.find(key);
  return found != value.end() && found->is_string() ? found->get<std::string>() : "";
}

std::string shown(const Layer& layer) {
  return fmt::format("{} ({})", printable(layer.name), printable(layer.class_name));
}

/// Null if `value` has no such member or is not an object.
json member(const json& value, const char* key) {
  const auto found = value.find(key);
  return found != value.end() ? *found : json();
}

/// The names of the layers that a node comes from.
void collect_sources(const json& node, std::vector<std::string>& names, int depth) {
  if (depth > kMaxDepth) return;
  if (node.is_array() && node.size() >= 3 && node[0].is_string() && node[1].is_number_integer() &&
      node[2].is_number_integer()) {
    names.push_back(node[0].get<std::string>());
  }
  if (node.is_structured()) {
    for (const json& part : node) collect_sources(part, names, depth + 1);
  }
}

Model parse_model(const json& config, bool sequential, int depth) {
  Model model;
  const json* list = &config;
  if (config.is_object()) {
    const auto found = config.find("layers");
    if (found == config.end()) return model;
    list = &*found;
  }
  if (!list->is_array() || depth > kMaxDepth) return model;
  for (const json& entry : *list) {
    if (!entry.is_object() || !entry.contains("config")) continue;
    Layer layer{.name = "",
                .class_name = text_of(entry, "class_name"),
                .config = entry.at("config"),
                .nodes = member(entry, "inbound_nodes"),
                .inputs = {},
                .model = {}};
    layer.name = layer.config.is_object() ? text_of(layer.config, "name") : "";
    if (layer.name.empty()) layer.name = text_of(entry, "name");
    const json* inner = &entry;
    if (layer.class_name == "TimeDistributed" && layer.config.is_object() && layer.config.contains("layer"))
      inner = &layer.config.at("layer");
    if (inner->is_object() && inner->contains("config")) {
      const json& inner_config = inner->at("config");
      if (inner_config.is_array() || (inner_config.is_object() && inner_config.contains("layers"))) {
        layer.model.push_back(
            parse_model(inner_config, text_of(*inner, "class_name") == "Sequential", depth + 1));
      }
    }
    model.layers.push_back(std::move(layer));
  }
  for (std::size_t i = 0; i < model.layers.size(); ++i) {
    if (sequential) {
      if (i > 0) model.layers[i].inputs = {i - 1};
      continue;
    }
    std::vector<std::string> sources;
    collect_sources(model.layers[i].nodes, sources, 0);
    for (const std::string& source : sources) {
      const auto found = std::ranges::find(model.layers, source, &Layer::name);
      if (found != model.layers.end())
        model.layers[i].inputs.push_back(static_cast<std::size_t>(found - model.layers.begin()));
    }
  }
  return model;
}

/// A setting of a layer, by its name in Keras 2 and 3 or in Keras 1; null if there is none.
json setting(const Layer& layer, const char* name, const char* keras1_name) {
  json value = member(layer.config, name);
  return value.is_null() ? member(layer.config, keras1_name) : value;
}

/// Whether a setting is absent, `number`, or a list of it.
bool is_number(const json& value, int number) {
  if (value.is_null()) return true;
  if (value.is_array())
    return std::ranges::all_of(value,
                               [&](const json& part) { return !part.is_null() && is_number(part, number); });
  return value.is_number() && value == number;
}

/// "relu" of "relu", {"class_name": "ReLU"} and {"class_name": "function", "config": "relu"}; "linear" of
/// null.
std::string activation_name(const json& value) {
  if (value.is_null()) return "linear";
  if (value.is_string()) return value.get<std::string>();
  if (!value.is_object()) return value.dump();
  const std::string class_name = text_of(value, "class_name");
  if (class_name == "function") return text_of(value, "config");
  const json config = member(value, "config");
  const bool plain = class_name == "ReLU" && is_number(member(config, "negative_slope"), 0) &&
                     is_number(member(config, "threshold"), 0) && member(config, "max_value").is_null();
  return plain ? "relu" : class_name;
}

bool is_relu(const Layer& layer) {
  if (layer.class_name == "Activation")
    return activation_name(setting(layer, "activation", "activation")) == "relu";
  return layer.class_name == "ReLU" &&
         activation_name({{"class_name", "ReLU"}, {"config", layer.config}}) == "relu";
}

/// Whether a layer does nothing, at least outside training.
bool is_identity(const Layer& layer) {
  constexpr std::array<std::string_view, 9> kClasses{
      "InputLayer", "Dropout", "SpatialDropout2D",      "GaussianNoise", "GaussianDropout", "AlphaDropout",
      "Identity",   "Layer",   "ActivityRegularization"};
  if (layer.class_name == "Activation")
    return activation_name(setting(layer, "activation", "activation")) == "linear";
  return std::ranges::find(kClasses, layer.class_name) != kClasses.end();
}

/// Whether a layer leaves the values of an image unchanged, whatever it does to the geometry.
bool keeps_images(const Layer& layer) {
  if (!layer.model.empty()) return std::ranges::all_of(layer.model.front().layers, keeps_images);
  return is_identity(layer) || layer.class_name.starts_with("Random") || layer.class_name == "Resizing" ||
         layer.class_name == "CenterCrop" || layer.class_name == "ZeroPadding2D";
}

class Examination {
 public:
  explicit Examination(const Network& network) : network_(network) {}

  KerasModel result() && { return std::move(result_); }

  /// `before`: the layers that the model's input has passed through in enclosing models.
  void examine(const Model& model, const std::vector<const Layer*>& before, int depth) {
    if (depth > kMaxDepth) return;
    for (std::size_t i = 0; i < model.layers.size() && result_.difference.empty(); ++i) {
      const Layer& layer = model.layers[i];
      if (const auto index = network_.find(layer.name)) {
        examine_convolution(model, i, *index, before);
        continue;
      }
      if (!layer.model.empty()) {
        std::vector<const Layer*> passed = before;
        collect_above(model, i, passed);
        examine(layer.model.front(), passed, depth + 1);
        continue;
      }
      // It may be a wrapper, such as those for pruning, quantisation and spectral normalisation.
      if (!layer.config.is_object() || !layer.config.contains("layer")) continue;
      const json& inner = layer.config.at("layer");
      if (inner.is_object() && inner.contains("config") && inner.at("config").is_object()) {
        const std::string name = text_of(inner.at("config"), "name");
        if (network_.find(name)) {
          differ(fmt::format("layer {} is wrapped in {}, which changes its kernel or its input", name,
                             shown(layer)));
        }
      }
    }
  }

 private:
  void differ(std::string what) {
    if (result_.difference.empty()) result_.difference = std::move(what);
  }

  /// All layers that `of` depends on.
  static void collect_above(const Model& model, std::size_t of, std::vector<const Layer*>& found) {
    std::vector<bool> seen(model.layers.size());
    std::vector<std::size_t> open{of};
    while (!open.empty()) {
      const std::size_t at = open.back();
      open.pop_back();
      for (const std::size_t input : model.layers[at].inputs) {
        if (seen[input]) continue;
        seen[input] = true;
        found.push_back(&model.layers[input]);
        open.push_back(input);
      }
    }
  }

  void examine_convolution(const Model& model, std::size_t at, int index,
                           const std::vector<const Layer*>& before) {
    const Layer& layer = model.layers[at];
    const std::string& name = layer.name;
    result_.described = true;
    if (layer.class_name != "Conv2D" && layer.class_name != "Convolution2D") {
      differ(fmt::format("layer {}: expected a Conv2D, found a {}", name, printable(layer.class_name)));
      return;
    }
    const auto expect = [&](const char* what, const json& value, int number) {
      if (!is_number(value, number))
        differ(
            fmt::format("layer {}: expected {} {}, found {}", name, what, number, printable(value.dump())));
    };
    expect("strides of", setting(layer, "strides", "subsample"), 1);
    expect("dilation_rate", setting(layer, "dilation_rate", "atrous_rate"), 1);
    expect("groups", setting(layer, "groups", "groups"), 1);
    expect("kernel_size", setting(layer, "kernel_size", "nb_row"), 3);
    const std::string activation = activation_name(setting(layer, "activation", "activation"));
    if (activation == "linear") {
      bool followed = false;
      for (const Layer& next : model.layers) {
        if (std::ranges::find(next.inputs, at) == next.inputs.end()) continue;
        followed = true;
        if (!is_relu(next))
          differ(fmt::format("layer {}: expected a ReLU after it, found {}", name, shown(next)));
      }
      if (!followed) differ(fmt::format("layer {}: expected the activation relu, found none", name));
    } else if (activation != "relu") {
      differ(fmt::format("layer {}: expected the activation relu, found {}", name, printable(activation)));
    }
    const json padding = setting(layer, "padding", "border_mode");
    const std::string padding_text = padding.is_string() ? padding.get<std::string>() : "valid";

    // Goes back to the previous convolution.
    bool reached = false;
    int pools = 0;
    int paddings = 0;
    std::size_t next = at;
    for (std::size_t steps = 0; steps <= model.layers.size(); ++steps) {
      const std::vector<std::size_t>& inputs = model.layers[next].inputs;
      if (inputs.empty()) break;
      if (index == 0 && paddings == 0 && padding_text == "same")
        break;  // What precedes the first convolution is not part of it.
      if (std::ranges::any_of(inputs, [&](std::size_t input) { return input != inputs.front(); })) {
        differ(fmt::format("layer {}: expected one input, found several", shown(model.layers[next])));
        return;
      }
      next = inputs.front();
      const Layer& previous = model.layers[next];
      if (const auto other = network_.find(previous.name)) {
        if (*other != index - 1) differ(fmt::format("layer {} follows {}", name, previous.name));
        reached = true;
        break;
      }
      if (previous.class_name == "ZeroPadding2D") {
        const json amount = setting(previous, "padding", "padding");
        if (!is_number(amount, 1) || pools > 0) {
          differ(fmt::format("layer {} before {}: expected a padding of 1 directly before the convolution",
                             shown(previous), name));
        }
        ++paddings;
      } else if (index == 0) {
        break;
      } else if (previous.class_name == "MaxPooling2D" || previous.class_name == "MaxPool2D") {
        const json strides = setting(previous, "strides", "strides");
        const json mode = setting(previous, "padding", "border_mode");
        if (!is_number(setting(previous, "pool_size", "pool_size"), 2) || !is_number(strides, 2) ||
            (mode.is_string() && mode != "valid")) {
          differ(fmt::format("layer {}: expected a pool of 2 x 2 with strides of 2 and without padding",
                             shown(previous)));
        }
        ++pools;
      } else if (!is_relu(previous) && !is_identity(previous)) {
        differ(fmt::format("layer {} precedes {}", shown(previous), name));
      }
    }
    if (index > 0 && !reached) {
      differ(fmt::format("layer {} follows no convolution of the model", name));
    } else if (index > 0 && pools != (network_.convolutions[index - 1].pool_after ? 1 : 0)) {
      differ(fmt::format("layer {}: expected {} MaxPooling2D before it, found {}", name,
                         network_.convolutions[index - 1].pool_after ? "a" : "no", pools));
    }
    if (!(padding_text == "same" && paddings == 0) && !(padding_text == "valid" && paddings == 1)) {
      differ(
          fmt::format("layer {}: expected the padding same, or valid after a ZeroPadding2D of 1, found {}{}",
                      name, printable(padding_text), paddings > 0 ? " after a ZeroPadding2D" : ""));
    }
    if (index == 0) {
      std::vector<const Layer*> above = before;
      collect_above(model, at, above);
      for (const Layer* passed : above) {
        if (!keeps_images(*passed)) result_.before.push_back(shown(*passed));
      }
    }
  }

  const Network& network_;
  KerasModel result_;
};

/// Gives the convolutions of a model the network's names if it has as many. Returns whether it found such a
/// model.
bool name_convolutions(Model& model, const Network& network) {
  std::vector<Layer*> found;
  for (Layer& layer : model.layers)
    if (layer.class_name == "Conv2D" || layer.class_name == "Convolution2D") found.push_back(&layer);
  if (std::ssize(found) != network.layer_count()) {
    return std::ranges::any_of(model.layers, [&](Layer& layer) {
      return !layer.model.empty() && name_convolutions(layer.model.front(), network);
    });
  }
  for (std::size_t i = 0; i < found.size(); ++i) found[i]->name = network.convolutions[i].name;
  return true;
}

}  // namespace

KerasModel examine_keras_model(std::string_view model_config, const Network& network) {
  bool deep = false;
  const auto limit_depth = [&](int depth, json::parse_event_t, const json&) {
    deep = deep || depth > kMaxJsonDepth;
    return !deep;
  };
  const json whole = json::parse(without_nan(model_config), limit_depth, false);
  KerasModel result;
  if (deep)
    result.damage = fmt::format("is nested more than {} deep", kMaxJsonDepth);
  else if (whole.is_discarded() || !whole.is_object())
    result.damage = "is not JSON";
  const auto config = result.damage.empty() ? whole.find("config") : whole.end();
  if (config == whole.end()) return result;
  Model model = parse_model(*config, text_of(whole, "class_name") == "Sequential", 0);
  for (const bool renamed : {false, true}) {
    if (renamed && !name_convolutions(model, network)) break;
    Examination examination(network);
    examination.examine(model, {}, 0);
    result = std::move(examination).result();
    if (result.described || !result.difference.empty()) break;
  }
  return result;
}

}  // namespace filterscope::weights_formats
