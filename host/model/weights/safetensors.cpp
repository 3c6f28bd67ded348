#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <charconv>
#include <cmath>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "../../base/error.h"
#include "../../base/exhaustion.h"
#include "../../base/text.h"
#include "formats.h"

// safetensors: 8 bytes N (little-endian), N bytes of JSON {"name": {"dtype", "shape", "data_offsets": [begin,
// end]}, ..., "__metadata__": {...}}, then the data, which the tensors cover without gaps or overlaps. Values
// are little-endian, row-major. https://github.com/huggingface/safetensors

namespace filterscope::weights_formats {

namespace {

namespace fs = std::filesystem;
using nlohmann::json;

/// The format allows 100 MB; a network of a few hundred tensors has tens of kilobytes.
constexpr std::uint64_t kMaxHeader = std::uint64_t{16} << 20;
/// A tensor's shape is nested two deep.
constexpr int kMaxHeaderDepth = 4;

struct Tensor {
  std::string name;
  std::string dtype;
  std::vector<std::uint64_t> shape;
  std::uint64_t begin = 0;
  std::uint64_t end = 0;
};

/// Bytes of a value; 0 for a type that is not read.
std::uint64_t width_of(std::string_view dtype) {
  return dtype == "F64" ? 8 : dtype == "F32" ? 4 : dtype == "F16" || dtype == "BF16" ? 2 : 0;
}

/// binary16 to binary32, exactly.
float from_half(std::uint16_t bits) {
  const std::uint32_t sign = (bits & 0x8000u) << 16;
  const std::uint32_t exponent = bits >> 10 & 0x1Fu;
  const std::uint32_t fraction = bits & 0x3FFu;
  if (exponent == 0) {
    const float magnitude = static_cast<float>(fraction) * 0x1p-24f;
    return sign != 0 ? -magnitude : magnitude;
  }
  const std::uint32_t wide_exponent = exponent == 31 ? 255 : exponent + 127 - 15;
  return std::bit_cast<float>(sign | wide_exponent << 23 | fraction << 13);
}

/// A little-endian value of a type that is read.
float value_of(std::string_view dtype, std::span<const char> bytes) {
  std::uint64_t bits = 0;
  for (std::size_t i = bytes.size(); i-- > 0;) bits = bits << 8 | static_cast<unsigned char>(bytes[i]);
  if (dtype == "F64") return static_cast<float>(std::bit_cast<double>(bits));
  if (dtype == "F32") return std::bit_cast<float>(static_cast<std::uint32_t>(bits));
  const auto half = static_cast<std::uint16_t>(bits);
  return dtype == "F16" ? from_half(half) : from_bfloat(half);
}

/// "features.3.weight" apart: what stands before `features`, the number, and what follows it.
struct ModuleName {
  std::string wrapper;
  int index = 0;
  std::string part;
};

/// Modules that PyTorch's tools put around others without another meaning.
constexpr std::array<std::string_view, 4> kTransparent{"module", "_orig_mod", "_fsdp_wrapped_module",
                                                       "_checkpoint_wrapped_module"};

/// `name` without the transparent modules that are left out of it; nothing if no number of a module of
/// `features` is in it. The list of modules may also stand by itself, as "3.weight", or in other lists, as
/// "0.3.weight". MLX's lists have their modules in `layers`.
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

/// Why a network with a tensor of that name among its convolutions is not the one without it.
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

class SafetensorsFile {
 public:
  SafetensorsFile(const fs::path& path, const Network& network)
      : path_(path), network_(network), stream_(path, std::ios::binary) {}

  FileContents read() {
    if (!stream_) fail(fmt::format("cannot be opened: {}{}", std::strerror(errno), reading_advice(errno)));
    read_header();
    const std::vector<int> indices = torchvision_indices(network_);
    const std::string wrapper = wrapper_of(indices);
    const int classifier = classifier_start(indices);
    std::vector<PartialLayer> parts(network_.convolutions.size());
    std::vector<std::string> contents;
    FileContents result;
    for (const Tensor& tensor : tensors_) {
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
        fail(fmt::format("layer {}: {} and {} are both its {}", convolution.name, target_name,
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
    if (order_ != KernelOrder::oihw)
      result.conversions.push_back(
          fmt::format("kernels transposed from the order of the file's format, {}", format_));
    if (result.images == Images::torchvision_features) {
      result.notes.push_back(
          "without values of the classifier, as torchvision's IMAGENET1K_FEATURES, which were trained on RGB "
          "images in 0..255 minus the mean");
    }
    return result;
  }

 private:
  /// What stands before the modules' numbers: "features", or "model.features" where the network was saved as
  /// part of a module, or nothing.
  std::string wrapper_of(const std::vector<int>& indices) const {
    std::set<std::string> wrappers;
    std::set<std::string> fitting;
    for (const Tensor& tensor : tensors_) {
      const auto name = module_name(tensor.name);
      if (!name || tensor.shape.size() != 4) continue;
      const auto index = std::ranges::find(indices, name->index);
      if (index == indices.end()) continue;
      wrappers.insert(name->wrapper);
      if (tensor.shape == kernel_shape(order_, network_.convolutions[index - indices.begin()]))
        fitting.insert(name->wrapper);
    }
    if (wrappers.contains("features")) return "features";
    if (!fitting.empty()) wrappers = fitting;
    wrappers.erase("");  // Any list of modules looks so; it is the network's if nothing else is.
    if (wrappers.size() > 1) {
      fail(
          fmt::format("expected the weights of one network, found {} and {}; save the one that is wanted by "
                      "itself",
                      printable(*wrappers.begin()), printable(*std::next(wrappers.begin()))));
    }
    return wrappers.empty() ? "" : *wrappers.begin();
  }

  /// A list of modules by itself may go on with a classifier: from its first matrix on, or beyond the
  /// network's last module.
  int classifier_start(const std::vector<int>& indices) const {
    int start = indices.back() + 3;
    for (const Tensor& tensor : tensors_) {
      const auto name = module_name(tensor.name);
      if (tensor.shape.size() == 2 && name && name->wrapper.empty() && name->part == "weight")
        start = std::min(start, name->index);
    }
    return start;
  }

  /// "0", or "0.1", of a list of modules in another one.
  static bool is_number_list(std::string_view wrapper) {
    return !wrapper.empty() && wrapper.find_first_not_of("0123456789.") == std::string_view::npos;
  }

  /// Lists in lists are common, and their numbers alone say little.
  void require_all(const std::vector<PartialLayer>& parts, const std::string& wrapper) const {
    const auto held =
        std::ranges::count_if(parts, [](const PartialLayer& part) { return part.kernel.has_value(); });
    if (held == std::ssize(parts)) return;
    fail(
        fmt::format("module {} holds {} of the {} convolutions of {}, and without names such as "
                    "features.0.weight only all "
                    "of them tell that they are this network's; save that module by itself as `features`",
                    wrapper, held, parts.size(), network_.name));
  }

  /// Among the convolutions everything counts: what this network lacks there makes another one of it.
  void refuse_other(const Tensor& tensor, const ModuleName& name) const {
    std::string_view why = why_other(name.part);
    const bool beside_a_vector = std::ranges::any_of(tensors_, [&](const Tensor& other) {
      const auto other_name = module_name(other.name);
      return other.shape.size() == 1 && other_name && other_name->wrapper == name.wrapper &&
             other_name->index == name.index && other_name->part == "weight";
    });
    if (why.empty() && beside_a_vector)
      why = "a normalisation, as in torchvision's vgg16_bn; networks with one are not supported";
    fail(fmt::format("holds {}, which torchvision's {} does not have: {}", printable(tensor.name),
                     network_.name, why.empty() ? "these are another network's weights" : why));
  }

  /// As torchvision's IMAGENET1K_FEATURES are in the classifier.
  bool has_no_value(const Tensor& tensor) {
    const std::uint64_t width = width_of(tensor.dtype);
    if (width == 0 || !tensor.name.ends_with("classifier.0.weight") || tensor.end - tensor.begin < width)
      return false;
    std::vector<char> bytes(width);
    read_bytes(data_start_ + tensor.begin, bytes, printable(tensor.name));
    return std::isnan(value_of(tensor.dtype, bytes));
  }

  [[noreturn]] void fail(const std::string& what) const {
    throw Error(ErrorKind::input, fmt::format("{}: {}", path_.string(), what));
  }

  static std::string listed(const std::vector<std::string>& names) {
    if (names.empty()) return "none";
    std::string text = names[0];
    for (std::size_t i = 1; i < std::min<std::size_t>(names.size(), 5); ++i) text += ", " + names[i];
    return names.size() > 5 ? fmt::format("{} and {} more", text, names.size() - 5) : text;
  }

  void read_bytes(std::uint64_t offset, std::span<char> bytes, const std::string& what) {
    stream_.clear();
    stream_.seekg(static_cast<std::streamoff>(offset));
    stream_.read(bytes.data(), static_cast<std::streamsize>(bytes.size()));
    if (static_cast<std::size_t>(stream_.gcount()) != bytes.size()) {
      fail(fmt::format("{}: expected {} bytes, found {}; the file is incomplete: get it again", what,
                       bytes.size(), stream_.gcount()));
    }
  }

  void read_header() {
    std::error_code error;
    const std::uint64_t size = fs::file_size(path_, error);
    if (error) fail(fmt::format("cannot be read: {}", error.message()));
    std::array<char, 8> prefix{};
    read_bytes(0, prefix, "the header's length");
    std::uint64_t length = 0;
    for (int i = 7; i >= 0; --i) length = length << 8 | static_cast<unsigned char>(prefix[i]);
    if (length > size - 8) {
      fail(
          fmt::format("the header should have {} bytes, but only {} follow; the file is damaged or "
                      "incomplete: get it again",
                      length, size - 8));
    }
    if (length > kMaxHeader) {
      fail(fmt::format("expected a header of at most {} bytes, found {}; the file is damaged", kMaxHeader,
                       length));
    }
    std::string text(length, '\0');
    read_bytes(8, text, "the header");
    data_start_ = 8 + length;

    // The parser keeps one of two equal keys.
    std::array<std::set<std::string>, 2> keys;  // The tensors' names; the keys of the last one.
    std::string twice;
    const auto note_key = [&](int depth, json::parse_event_t event, const json& parsed) {
      if (depth > kMaxHeaderDepth) {
        fail(fmt::format("expected a header nested at most {} deep; the file is damaged: get it again",
                         kMaxHeaderDepth));
      }
      if (event != json::parse_event_t::key || depth > 2) return true;
      if (depth == 1) keys[1].clear();
      if (!keys[depth - 1].insert(parsed.get<std::string>()).second) twice = parsed.get<std::string>();
      return true;
    };
    const json header = json::parse(text, note_key, false);
    if (header.is_discarded() || !header.is_object()) {
      fail("expected a safetensors header in JSON, found something else; the file is damaged: get it again");
    }
    if (!twice.empty()) {
      fail(fmt::format("the header names {} twice; which one is meant cannot be told: save the file again",
                       printable(twice)));
    }
    for (const auto& [name, entry] : header.items()) {
      if (name == "__metadata__") {
        read_metadata(entry);
        continue;
      }
      tensors_.push_back(tensor_of(name, entry));
    }
    check_offsets(size - data_start_);
  }

  /// Libraries name their own format, whose order of dimensions the kernels have.
  void read_metadata(const json& metadata) {
    if (!metadata.is_object() || !metadata.contains("format")) return;
    const json& format = metadata.at("format");
    format_ = format.is_string() ? printable(format.get_ref<const std::string&>()) : format.type_name();
    if (format_ == "pt" || format_ == "pytorch" || format_ == "np") return;
    if (format_ == "mlx") {
      order_ = KernelOrder::ohwi;
    } else if (format_ == "tf" || format_ == "flax") {
      order_ = KernelOrder::hwio;
    } else {
      fail(fmt::format(
          "__metadata__: expected a format whose order of dimensions is known (pt, np, tf, flax, mlx), "
          "found {}; save the weights from PyTorch",
          format_));
    }
  }

  static std::optional<std::vector<std::uint64_t>> whole_numbers(const json& entry, const char* key) {
    const auto found = entry.find(key);
    if (found == entry.end() || !found->is_array() || found->size() > 32) return std::nullopt;
    std::vector<std::uint64_t> numbers;
    for (const json& number : *found) {
      if (!number.is_number_unsigned()) return std::nullopt;
      numbers.push_back(number.get<std::uint64_t>());
    }
    return numbers;
  }

  Tensor tensor_of(const std::string& name, const json& entry) const {
    const std::string where = fmt::format("tensor {}", printable(name));
    if (!entry.is_object()) fail(fmt::format("{}: expected a JSON object; the file is damaged", where));
    const auto dtype = entry.find("dtype");
    const auto shape = whole_numbers(entry, "shape");
    const auto offsets = whole_numbers(entry, "data_offsets");
    if (dtype == entry.end() || !dtype->is_string() || !shape || !offsets || offsets->size() != 2) {
      fail(fmt::format(
          "{}: expected dtype, shape and data_offsets [begin, end] in whole numbers; the file is damaged",
          where));
    }
    return {.name = name,
            .dtype = printable(dtype->get_ref<const std::string&>()),
            .shape = *shape,
            .begin = (*offsets)[0],
            .end = (*offsets)[1]};
  }

  /// The format's own rule: the tensors cover the data from its start to its end, each byte once.
  void check_offsets(std::uint64_t data_size) const {
    std::vector<const Tensor*> order;
    for (const Tensor& tensor : tensors_) order.push_back(&tensor);
    std::ranges::sort(order, {}, [](const Tensor* tensor) { return std::pair(tensor->begin, tensor->end); });
    std::uint64_t covered = 0;
    for (const Tensor* tensor : order) {
      if (tensor->begin != covered || tensor->end < tensor->begin) {
        fail(
            fmt::format("tensor {}: expected data_offsets from {}, found [{}, {}]; tensors may not overlap "
                        "or leave gaps. The file is damaged: get it again",
                        printable(tensor->name), covered, tensor->begin, tensor->end));
      }
      covered = tensor->end;
    }
    if (covered != data_size) {
      fail(
          fmt::format("expected {} bytes of data, as the header says, found {}; the file is damaged or "
                      "incomplete: get it again",
                      covered, data_size));
    }
  }

  /// The tensor's values, checked against the shape the network needs.
  std::vector<float> read_values(const Tensor& tensor, const Convolution& convolution,
                                 const std::vector<std::uint64_t>& expected) {
    const std::string where = fmt::format("layer {}: tensor {}", convolution.name, printable(tensor.name));
    const std::uint64_t width = width_of(tensor.dtype);
    if (width == 0 || tensor.shape != expected) {
      std::string advice = fmt::format("These are not torchvision's {} weights", network_.name);
      if (const std::string order = order_text(tensor.shape, convolution);
          tensor.shape != expected && expected.size() == 4 && !order.empty()) {
        advice = fmt::format("This is {}, but {}", order,
                             format_.empty() ? "the file does not tell its format"
                                             : fmt::format("the file's format is {}", format_));
      } else if (tensor.shape == expected) {
        advice = fmt::format(
            "Save the weights in one of these types{}",
            tensor.dtype.starts_with("F8") || tensor.dtype.starts_with('I') || tensor.dtype.starts_with('U')
                ? "; quantised ones must be multiplied by their scales first"
                : "");
      }
      fail(fmt::format("{}: expected F32, F16, BF16 or F64 {}, found {} {}. {}", where, shape_text(expected),
                       tensor.dtype, shape_text(tensor.shape), advice));
    }
    std::uint64_t count = 1;
    for (const std::uint64_t side : expected) count *= side;
    const std::uint64_t bytes = count * width;
    if (tensor.end - tensor.begin != bytes) {
      fail(fmt::format(
          "{}: expected {} bytes of {} {}, found data_offsets of {}; the file is damaged: get it again",
          where, bytes, tensor.dtype, shape_text(expected), tensor.end - tensor.begin));
    }
    std::vector<char> raw(bytes);
    read_bytes(data_start_ + tensor.begin, raw, where);
    std::vector<float> values(count);
    for (std::uint64_t i = 0; i < count; ++i)
      values[i] = value_of(tensor.dtype, std::span(raw).subspan(i * width, width));
    require_finite(path_, convolution.name, fmt::format("tensor {}", printable(tensor.name)), expected,
                   values);
    return values;
  }

  std::vector<float> read_kernel(const Tensor& tensor, const Convolution& convolution) {
    return to_hwio(read_values(tensor, convolution, kernel_shape(order_, convolution)), order_, convolution);
  }

  std::vector<float> read_bias(const Tensor& tensor, const Convolution& convolution) {
    return read_values(tensor, convolution, {static_cast<std::uint64_t>(convolution.out_channels)});
  }

  const fs::path& path_;
  const Network& network_;
  std::ifstream stream_;
  std::uint64_t data_start_ = 0;
  std::vector<Tensor> tensors_;
  std::string format_;  ///< As the file tells it; empty: it does not.
  KernelOrder order_ = KernelOrder::oihw;
};

}  // namespace

FileContents read_safetensors(const fs::path& file, const Network& network) {
  return SafetensorsFile(file, network).read();
}

}  // namespace filterscope::weights_formats
