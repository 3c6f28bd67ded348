#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <set>
#include <utility>

#include "../../base/error.h"
#include "../../base/text.h"
#include "formats.h"
#include "safetensors_file.h"
#include "tensors.h"

namespace filterscope::weights_formats {

namespace {

namespace fs = std::filesystem;

/// The parts of a name such as "model.features.3.weight".
struct ModuleName {
  std::string wrapper;  ///< "model.features"
  int index = 0;        ///< 3
  std::string part;     ///< "weight"
};

/// Modules that PyTorch's tools wrap around others without changing what they compute.
constexpr std::array<std::string_view, 4> kTransparent{"module", "_orig_mod", "_fsdp_wrapped_module",
                                                       "_checkpoint_wrapped_module"};

/// The parts of `name`, without transparent modules; nothing if it has no number of a module of `features`.
/// The list of modules may also be saved alone, as "3.weight", or in other lists, as "0.3.weight". MLX's
/// lists hold their modules in `layers`.
std::optional<ModuleName> module_name(std::string_view name) {
  std::vector<std::string_view> words;
  for (std::string_view rest = name; !rest.empty();) {
    const std::size_t dot = std::min(rest.find('.'), rest.size());
    const std::string_view word = rest.substr(0, dot);
    if (std::ranges::find(kTransparent, word) == kTransparent.end()) words.push_back(word);
    rest.remove_prefix(std::min(dot + 1, rest.size()));
  }
  const auto number = [](std::string_view word) -> std::optional<int> {
    int value = 0;
    const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), value);
    if (error != std::errc{} || end != word.data() + word.size() || word.starts_with('-'))
      return std::nullopt;
    return value;
  };
  const auto joined = [](std::span<const std::string_view> some) {
    return fmt::format("{}", fmt::join(some, "."));
  };
  const auto list = std::ranges::find(words, "features");
  std::size_t at = 0;
  if (list != words.end()) {
    at = static_cast<std::size_t>(list - words.begin()) + 1;
    if (at < words.size() && words[at] == "layers")
      words.erase(words.begin() + static_cast<std::ptrdiff_t>(at));
  } else {
    while (at + 1 < words.size() && number(words[at]) && number(words[at + 1])) ++at;
  }
  if (at + 1 >= words.size()) return std::nullopt;
  const auto index = number(words[at]);
  if (!index) return std::nullopt;
  const std::span all(words);
  return ModuleName{.wrapper = joined(all.first(at)), .index = *index, .part = joined(all.subspan(at + 1))};
}

/// What a tensor of that name among the convolutions is, and what to do about it; empty if unknown.
std::string_view why_other(std::string_view part) {
  constexpr std::array<std::pair<std::string_view, std::string_view>, 14> kReasons{{
      {"running_",
       "a batch normalisation, as in torchvision's vgg16_bn; networks with one are not supported"},
      {"num_batches_tracked",
       "a batch normalisation, as in torchvision's vgg16_bn; networks with one are not supported"},
      {"weight_mask", "pruned weights: make them plain with torch.nn.utils.prune.remove"},
      {"weight_g", "weight normalisation: make the weights plain with torch.nn.utils.remove_weight_norm"},
      {"weight_v", "weight normalisation: make the weights plain with torch.nn.utils.remove_weight_norm"},
      {"weight_u", "spectral normalisation: make the weights plain with torch.nn.utils.remove_spectral_norm"},
      {"weight_orig",
       "pruned or spectrally normalised weights: make them plain with torch.nn.utils.prune.remove "
       "or remove_spectral_norm"},
      {"parametrizations.",
       "a parametrisation: make the weights plain with torch.nn.utils.parametrize.remove_parametrizations"},
      {"lora_", "a LoRA adapter: merge it into the weights (merge_and_unload)"},
      {"base_layer.", "a LoRA adapter: merge it into the weights (merge_and_unload)"},
      {"scale", "quantised weights: save them as floats"},
      {"zero_point", "quantised weights: save them as floats"},
      {"qweight", "quantised weights: save them as floats"},
      {"_packed", "quantised weights: save them as floats"},
  }};
  for (const auto& [word, reason] : kReasons) {
    if (part.find(word) != std::string_view::npos) return reason;
  }
  return "";
}

/// Finds torchvision's layers in a file.
class TorchvisionReader {
 public:
  TorchvisionReader(const fs::path& path, const Network& network)
      : path_(path), network_(network), file_(path) {}

  FileContents read() {
    const std::vector<int> indices = torchvision_indices(network_);
    const std::string wrapper = wrapper_of(indices);
    const int classifier = classifier_start(indices);
    std::vector<PartialLayer> parts(network_.convolutions.size());
    std::vector<std::string> contents;
    FileContents result;
    for (const Tensor& tensor : file_.tensors()) {
      contents.push_back(printable(tensor.name));
      const auto name = module_name(tensor.name);
      if (!name || name->wrapper != wrapper) {
        if (has_no_value(tensor)) result.images = Images::torchvision_features;
        continue;
      }
      const auto index = std::ranges::find(indices, name->index);
      if (wrapper.empty() && name->index >= classifier) continue;
      if (index == indices.end() || (name->part != "weight" && name->part != "bias")) {
        refuse_other(tensor, *name);
        continue;
      }
      const auto layer = static_cast<std::size_t>(index - indices.begin());
      const Convolution& convolution = network_.convolutions[layer];
      const bool is_kernel = name->part == "weight";
      std::optional<std::vector<float>>& target = is_kernel ? parts[layer].kernel : parts[layer].bias;
      std::string& target_name = is_kernel ? parts[layer].kernel_name : parts[layer].bias_name;
      if (target) {
        file_.fail(fmt::format("layer {}: {} and {} are both its {}", convolution.name, target_name,
                               contents.back(), name->part));
      }
      target = is_kernel ? read_kernel(tensor, convolution) : read_bias(tensor, convolution);
      target_name = contents.back();
    }
    if (std::ranges::none_of(parts, [](const PartialLayer& part) { return part.kernel || part.bias; })) {
      throw Error(
          ErrorKind::input,
          fmt::format(
              "{}: holds no layer of torchvision's {}: expected tensors such as features.0.weight, found {}. "
              "These are another network's weights",
              path_.string(), network_.name, listed(contents)));
    }
    if (is_number_list(wrapper)) require_all(parts, wrapper);
    result.layers = whole_layers(path_, network_, std::move(parts), contents);
    if (file_.order() != KernelOrder::oihw) {
      result.conversions.push_back(
          fmt::format("kernels transposed from the order of the file's format, {}", file_.format()));
    }
    if (result.images == Images::torchvision_features) {
      result.notes.push_back(
          "the classifier has no values, as in torchvision's IMAGENET1K_FEATURES, which were trained on RGB "
          "images in 0..255 minus the mean");
    }
    return result;
  }

 private:
  /// The prefix of the modules' numbers: "features", "model.features" if the network was saved as part of
  /// another module, or empty.
  std::string wrapper_of(const std::vector<int>& indices) const {
    std::set<std::string> wrappers;
    std::set<std::string> fitting;
    for (const Tensor& tensor : file_.tensors()) {
      const auto name = module_name(tensor.name);
      if (!name || tensor.shape.size() != 4) continue;
      const auto index = std::ranges::find(indices, name->index);
      if (index == indices.end()) continue;
      wrappers.insert(name->wrapper);
      if (tensor.shape == kernel_shape(file_.order(), network_.convolutions[index - indices.begin()]))
        fitting.insert(name->wrapper);
    }
    if (wrappers.contains("features")) return "features";
    if (!fitting.empty()) wrappers = fitting;
    wrappers.erase("");  // Any list of modules has no prefix; it is the network's if nothing else is.
    if (wrappers.size() > 1) {
      file_.fail(fmt::format(
          "expected the weights of one network, found {} and {}; save the one to be rendered alone",
          printable(*wrappers.begin()), printable(*std::next(wrappers.begin()))));
    }
    return wrappers.empty() ? "" : *wrappers.begin();
  }

  /// Without a prefix, the list of modules may continue with a classifier. It starts at the first matrix, or
  /// after the network's last module.
  int classifier_start(const std::vector<int>& indices) const {
    int start = indices.back() + 3;
    for (const Tensor& tensor : file_.tensors()) {
      const auto name = module_name(tensor.name);
      if (tensor.shape.size() == 2 && name && name->wrapper.empty() && name->part == "weight")
        start = std::min(start, name->index);
    }
    return start;
  }

  /// Whether this is "0" or "0.1", the prefix of a list of modules in another list.
  static bool is_number_list(std::string_view wrapper) {
    return !wrapper.empty() && wrapper.find_first_not_of("0123456789.") == std::string_view::npos;
  }

  /// Lists in lists are common, so their numbers only identify the network if it is complete.
  void require_all(const std::vector<PartialLayer>& parts, const std::string& wrapper) const {
    const auto held =
        std::ranges::count_if(parts, [](const PartialLayer& part) { return part.kernel.has_value(); });
    if (held == std::ssize(parts)) return;
    file_.fail(
        fmt::format("module {} holds {} of the {} convolutions of {}; without names such as "
                    "features.0.weight, only all of them show that they are this network's: save that module "
                    "alone as `features`",
                    wrapper, held, parts.size(), network_.name));
  }

  /// Any other tensor among the convolutions means that this is another network.
  void refuse_other(const Tensor& tensor, const ModuleName& name) const {
    std::string_view why = why_other(name.part);
    const bool is_normalisation = std::ranges::any_of(file_.tensors(), [&](const Tensor& other) {
      const auto other_name = module_name(other.name);
      return other.shape.size() == 1 && other_name && other_name->wrapper == name.wrapper &&
             other_name->index == name.index && other_name->part == "weight";
    });
    if (why.empty() && is_normalisation)
      why = "a normalisation, as in torchvision's vgg16_bn; networks with one are not supported";
    file_.fail(fmt::format("holds {}, which torchvision's {} does not have: {}", printable(tensor.name),
                           network_.name, why.empty() ? "these are another network's weights" : why));
  }

  /// torchvision's IMAGENET1K_FEATURES has NaN in the classifier.
  bool has_no_value(const Tensor& tensor) {
    const std::uint64_t width = width_of(tensor.dtype);
    if (width == 0 || !tensor.name.ends_with("classifier.0.weight") || tensor.end - tensor.begin < width)
      return false;
    return std::isnan(file_.read_first(tensor, printable(tensor.name)));
  }

  static std::string listed(const std::vector<std::string>& names) {
    if (names.empty()) return "none";
    std::string text = names[0];
    for (std::size_t i = 1; i < std::min<std::size_t>(names.size(), 5); ++i) text += ", " + names[i];
    return names.size() > 5 ? fmt::format("{} and {} more", text, names.size() - 5) : text;
  }

  /// The tensor's values, whose shape the network expects.
  std::vector<float> read_values(const Tensor& tensor, const Convolution& convolution,
                                 const std::vector<std::uint64_t>& expected) {
    const std::string where = fmt::format("layer {}: tensor {}", convolution.name, printable(tensor.name));
    if (width_of(tensor.dtype) == 0 || tensor.shape != expected) {
      std::string advice = fmt::format("These are not torchvision's {} weights", network_.name);
      if (const std::string order = order_text(tensor.shape, convolution);
          tensor.shape != expected && expected.size() == 4 && !order.empty()) {
        advice = fmt::format("This is {}, but {}", order,
                             file_.format().empty() ? "the file does not say its format"
                                                    : fmt::format("the file's format is {}", file_.format()));
      } else if (tensor.shape == expected) {
        advice = fmt::format(
            "Save the weights in one of these types{}",
            tensor.dtype.starts_with("F8") || tensor.dtype.starts_with('I') || tensor.dtype.starts_with('U')
                ? "; quantised ones must be multiplied by their scales first"
                : "");
      }
      file_.fail(fmt::format("{}: expected F32, F16, BF16 or F64 {}, found {} {}. {}", where,
                             shape_text(expected), tensor.dtype, shape_text(tensor.shape), advice));
    }
    std::vector<float> values = file_.read(tensor, where);
    require_finite(path_, convolution.name, fmt::format("tensor {}", printable(tensor.name)), expected,
                   values);
    return values;
  }

  std::vector<float> read_kernel(const Tensor& tensor, const Convolution& convolution) {
    return to_hwio(read_values(tensor, convolution, kernel_shape(file_.order(), convolution)), file_.order(),
                   convolution);
  }

  std::vector<float> read_bias(const Tensor& tensor, const Convolution& convolution) {
    return read_values(tensor, convolution, {static_cast<std::uint64_t>(convolution.out_channels)});
  }

  const fs::path& path_;
  const Network& network_;
  SafetensorsFile file_;
};

}  // namespace

std::vector<int> torchvision_indices(const Network& network) {
  std::vector<int> indices;
  int index = 0;
  for (const Convolution& convolution : network.convolutions) {
    indices.push_back(index);
    index += convolution.pool_after ? 3 : 2;
  }
  return indices;
}

FileContents read_safetensors(const fs::path& file, const Network& network) {
  return TorchvisionReader(file, network).read();
}

}  // namespace filterscope::weights_formats
