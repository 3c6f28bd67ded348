#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "error.h"
#include "exhaustion.h"
#include "weights_formats.h"

// safetensors: 8 bytes N (little-endian), N bytes of JSON {"name": {"dtype", "shape", "data_offsets": [begin,
// end]}, ...,
// "__metadata__": {...}}, then the data, which the tensors cover without gaps or overlaps. Values are
// little-endian, row-major. https://github.com/huggingface/safetensors

namespace filterscope::weights_formats {

namespace {

namespace fs = std::filesystem;
using nlohmann::json;

/// The format allows 100 MB; a network of a few hundred tensors has tens of kilobytes.
constexpr std::uint64_t kMaxHeader = std::uint64_t{16} << 20;

struct Tensor {
  std::string name;
  std::string dtype;
  std::vector<std::uint64_t> shape;
  std::uint64_t begin = 0;
  std::uint64_t end = 0;
};

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

float from_bfloat(std::uint16_t bits) {
  return std::bit_cast<float>(std::uint32_t{bits} << 16);
}

class SafetensorsFile {
 public:
  SafetensorsFile(const fs::path& path, const Network& network)
      : path_(path), network_(network), stream_(path, std::ios::binary) {}

  Layers read() {
    if (!stream_) fail(fmt::format("cannot be opened: {}{}", std::strerror(errno), reading_advice(errno)));
    read_header();
    std::vector<PartialLayer> parts(network_.convolutions.size());
    std::vector<std::string> contents;
    const std::vector<int> indices = torchvision_indices(network_);
    const std::string wrapper = wrapper_of(indices);
    for (const Tensor& tensor : tensors_) {
      contents.push_back(tensor.name.substr(0, 80));
      bool known = false;
      for (int layer = 0; layer < network_.layer_count(); ++layer) {
        PartialLayer& part = parts[layer];
        const std::string prefix = fmt::format("{}features.{}.", wrapper, indices[layer]);
        known |= tensor.name == prefix + "weight";
        if (tensor.name == prefix + "weight") {
          part.kernel = read_kernel(tensor, network_.convolutions[layer]);
          part.kernel_name = tensor.name;
        } else if (tensor.name == prefix + "bias") {
          part.bias = read_bias(tensor, network_.convolutions[layer]);
          part.bias_name = tensor.name;
        }
      }
      // A convolution where this network has none.
      if (!known && tensor.shape.size() == 4 && tensor.name.starts_with(wrapper + "features.") &&
          tensor.name.ends_with(".weight")) {
        fail(
            fmt::format("holds {}, which torchvision's {} does not have: these are another network's weights",
                        contents.back(), network_.name));
      }
    }
    if (std::ranges::none_of(parts, [](const PartialLayer& part) { return part.kernel || part.bias; })) {
      throw Error(
          ErrorKind::input,
          fmt::format(
              "{}: holds no layer of torchvision's {}: expected tensors such as features.0.weight, found {}. "
              "These are another network's weights",
              path_.string(), network_.name, listed(contents)));
    }
    return whole_layers(path_, network_, std::move(parts), contents);
  }

 private:
  /// What stands before torchvision's names: nothing, or "module." where the network was saved as part of a
  /// module.
  std::string wrapper_of(const std::vector<int>& indices) const {
    std::set<std::string> wrappers;
    for (const Tensor& tensor : tensors_) {
      for (const int index : indices) {
        const std::string name = fmt::format("features.{}.weight", index);
        if (tensor.shape.size() != 4 || !tensor.name.ends_with(name)) continue;
        const std::string wrapper = tensor.name.substr(0, tensor.name.size() - name.size());
        if (wrapper.empty() || wrapper.ends_with('.')) wrappers.insert(wrapper);
      }
    }
    if (wrappers.contains("")) return "";
    if (wrappers.size() > 1) {
      fail(
          fmt::format("expected the weights of one network, found {0}features and {1}features; save the one "
                      "that is wanted by itself",
                      wrappers.begin()->substr(0, 80), std::next(wrappers.begin())->substr(0, 80)));
    }
    return wrappers.empty() ? "" : *wrappers.begin();
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

    const json header = json::parse(text, nullptr, false);
    if (header.is_discarded() || !header.is_object()) {
      fail("expected a safetensors header in JSON, found something else; the file is damaged: get it again");
    }
    for (const auto& [name, entry] : header.items()) {
      if (name == "__metadata__") continue;
      tensors_.push_back(tensor_of(name, entry));
    }
    check_offsets(size - data_start_);
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
    const std::string where = fmt::format("tensor {}", name.substr(0, 80));
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
            .dtype = dtype->get<std::string>().substr(0, 16),
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
                        "or leave gaps. The "
                        "file is damaged: get it again",
                        tensor->name.substr(0, 80), covered, tensor->begin, tensor->end));
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
    const std::string where = fmt::format("layer {}: tensor {}", convolution.name, tensor.name);
    const bool wide = tensor.dtype == "F32";
    const bool known = wide || tensor.dtype == "F16" || tensor.dtype == "BF16";
    if (!known || tensor.shape != expected) {
      fail(fmt::format("{}: expected F32, F16 or BF16 {}, found {} {}. {}", where, shape_text(expected),
                       tensor.dtype, shape_text(tensor.shape),
                       tensor.shape == expected
                           ? "Save the weights in one of these types"
                           : fmt::format("These are not torchvision's {} weights", network_.name)));
    }
    std::uint64_t count = 1;
    for (const std::uint64_t side : expected) count *= side;
    const std::uint64_t bytes = count * (wide ? 4 : 2);
    if (tensor.end - tensor.begin != bytes) {
      fail(fmt::format(
          "{}: expected {} bytes of {} {}, found data_offsets of {}; the file is damaged: get it again",
          where, bytes, tensor.dtype, shape_text(expected), tensor.end - tensor.begin));
    }
    std::vector<char> raw(bytes);
    read_bytes(data_start_ + tensor.begin, raw, where);
    const auto* next = reinterpret_cast<const unsigned char*>(raw.data());
    std::vector<float> values(count);
    for (float& value : values) {
      const auto low = static_cast<std::uint16_t>(next[0] | next[1] << 8);
      if (wide) {
        const auto high = static_cast<std::uint16_t>(next[2] | next[3] << 8);
        value = std::bit_cast<float>(std::uint32_t{high} << 16 | low);
        next += 4;
      } else {
        value = tensor.dtype == "F16" ? from_half(low) : from_bfloat(low);
        next += 2;
      }
    }
    require_finite(path_, convolution.name, fmt::format("tensor {}", tensor.name), expected, values);
    return values;
  }

  /// [out, in, 3, 3] to [3, 3, in, out].
  std::vector<float> read_kernel(const Tensor& tensor, const Convolution& convolution) {
    const auto in = static_cast<std::size_t>(convolution.in_channels);
    const auto out = static_cast<std::size_t>(convolution.out_channels);
    const std::vector<float> oihw = read_values(tensor, convolution, {out, in, 3, 3});
    std::vector<float> hwio(oihw.size());
    for (std::size_t o = 0; o < out; ++o) {
      for (std::size_t i = 0; i < in; ++i) {
        for (std::size_t tap = 0; tap < 9; ++tap)
          hwio[(tap * in + i) * out + o] = oihw[(o * in + i) * 9 + tap];
      }
    }
    return hwio;
  }

  std::vector<float> read_bias(const Tensor& tensor, const Convolution& convolution) {
    return read_values(tensor, convolution, {static_cast<std::uint64_t>(convolution.out_channels)});
  }

  const fs::path& path_;
  const Network& network_;
  std::ifstream stream_;
  std::uint64_t data_start_ = 0;
  std::vector<Tensor> tensors_;
};

}  // namespace

Layers read_safetensors(const fs::path& file, const Network& network) {
  return SafetensorsFile(file, network).read();
}

}  // namespace filterscope::weights_formats
