#include "other_layers.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <utility>

#include "../../../base/text.h"

namespace filterscope::weights_formats {

namespace {

constexpr std::string_view kWholeModel =
    "Save the whole model, as .h5, or as .keras, unpacked so that its config.json is next to its "
    "model.weights.h5; or save the convolutions alone";

/// "conv2d" of "conv2d_3": Keras names layers after their classes, and numbers them.
std::string_view class_of(std::string_view name) {
  const std::size_t end = name.find_last_not_of("0123456789");
  const bool is_counted = end != std::string_view::npos && end + 1 < name.size() && name[end] == '_';
  return is_counted ? name.substr(0, end) : name;
}

/// Whether a layer whose place the file does not give must be somewhere else than among the convolutions: it
/// and all others of its kind can follow layers of its model that output as many channels, each another one.
bool is_explained(const Network& network, const OtherLayer& other, const std::vector<OtherLayer>& others,
                  int last, bool counted) {
  const auto count = [&](const auto& is) {
    return std::ranges::count_if(
        others, [&](const OtherLayer& some) { return some.parent == other.parent && is(some); });
  };
  const std::span convolutions(network.convolutions);
  switch (other.effect) {
    case Effect::preprocessing:
      return count([&](const OtherLayer& some) { return class_of(some.name) == class_of(other.name); }) == 1;
    case Effect::convolution:
      return !counted;
    case Effect::pooling:
      return count([&](const OtherLayer& some) { return class_of(some.name) == "max_pooling2d"; }) >=
             std::ranges::count_if(convolutions.first(static_cast<std::size_t>(std::max(last, 0))),
                                   &Convolution::pool_after);
    case Effect::normalisation:
    case Effect::activation:
      break;
    default:
      return true;
  }
  const auto is_of_network = [&](const Convolution& convolution) {
    return static_cast<std::uint64_t>(convolution.out_channels) == other.channels;
  };
  if (other.channels > 0 && std::ranges::none_of(convolutions, is_of_network)) return true;
  const auto alike = count(
      [&](const OtherLayer& some) { return some.effect == other.effect && some.channels == other.channels; });
  auto places = count([&](const OtherLayer& some) {
    return some.has_outputs() && (other.channels == 0 || some.channels == other.channels);
  });
  if (last >= 0 && is_of_network(convolutions[static_cast<std::size_t>(last)]) &&
      (other.may_follow ||
       count([](const OtherLayer& some) { return some.name.starts_with("global_"); }) > 0))
    ++places;
  return alike <= places;
}

}  // namespace

Effect effect_of(std::string_view name) {
  constexpr std::array<std::pair<std::string_view, Effect>, 14> kEffects{
      {{"rescaling", Effect::preprocessing},
       {"normalization", Effect::preprocessing},
       {"batch_normalization", Effect::normalisation},
       {"layer_normalization", Effect::normalisation},
       {"group_normalization", Effect::normalisation},
       {"unit_normalization", Effect::activation},
       {"leaky_re_lu", Effect::activation},
       {"p_re_lu", Effect::activation},
       {"elu", Effect::activation},
       {"average_pooling2d", Effect::pooling},
       {"depthwise_conv2d", Effect::convolution},
       {"conv2d_transpose", Effect::convolution},
       {"separable_conv2d", Effect::convolution},
       {"lambda", Effect::other}}};
  const auto found = std::ranges::find(kEffects, class_of(name), &std::pair<std::string_view, Effect>::first);
  return found == kEffects.end() ? Effect::none : found->second;
}

void OtherLayer::add_weight(std::span<const std::uint64_t> shape) {
  has_weights = true;
  if (effect == Effect::activation || shape.size() < rank || shape.empty()) return;
  rank = shape.size();
  // The kernels of a Conv2DTranspose are [3, 3, out, in].
  channels = class_of(name) == "conv2d_transpose" && rank == 4 ? shape[2] : shape.back();
}

void judge_other_layers(KerasReading& reading, const std::vector<OtherLayer>& others, int last,
                        bool counted) {
  for (const OtherLayer& other : others) {
    if (other.effect == Effect::preprocessing || (other.place == Place::before && other.alters())) {
      reading.is_before_uncertain = reading.is_before_uncertain || other.place != Place::before;
      if (std::ranges::find(reading.before, printable(other.name)) == reading.before.end() &&
          reading.before.size() < kMaxNames)
        reading.before.push_back(printable(other.name));
    }
    if (other.place == Place::among && other.alters()) {
      reading.file.fail(fmt::format(
          "holds {} among the convolutions of {}, which has no such layer: these are another network's "
          "weights. If it is on another branch, save the convolutions alone",
          printable(other.path), reading.network.name));
    }
    if (other.place == Place::unknown && !is_explained(reading.network, other, others, last, counted)) {
      reading.file.fail(
          fmt::format("holds {} besides the convolutions of {}; it may be between them, which would make "
                      "them another network's weights, and the weights alone do not say. {}",
                      printable(other.path), reading.network.name, kWholeModel));
    }
  }
}

}  // namespace filterscope::weights_formats
