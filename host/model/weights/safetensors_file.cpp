#include "safetensors_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <system_error>
#include <utility>

#include "../../base/error.h"
#include "../../base/exhaustion.h"
#include "../../base/text.h"

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

/// Decodes a little-endian value of a type that is read.
float value_of(std::string_view dtype, std::span<const char> bytes) {
  std::uint64_t bits = 0;
  for (std::size_t i = bytes.size(); i-- > 0;) bits = bits << 8 | static_cast<unsigned char>(bytes[i]);
  if (dtype == "F64") return static_cast<float>(std::bit_cast<double>(bits));
  if (dtype == "F32") return std::bit_cast<float>(static_cast<std::uint32_t>(bits));
  const auto half = static_cast<std::uint16_t>(bits);
  return dtype == "F16" ? from_half(half) : from_bfloat(half);
}

std::optional<std::vector<std::uint64_t>> whole_numbers(const json& entry, const char* key) {
  const auto found = entry.find(key);
  if (found == entry.end() || !found->is_array() || found->size() > 32) return std::nullopt;
  std::vector<std::uint64_t> numbers;
  for (const json& number : *found) {
    if (!number.is_number_unsigned()) return std::nullopt;
    numbers.push_back(number.get<std::uint64_t>());
  }
  return numbers;
}

}  // namespace

std::uint64_t width_of(std::string_view dtype) {
  return dtype == "F64" ? 8 : dtype == "F32" ? 4 : dtype == "F16" || dtype == "BF16" ? 2 : 0;
}

SafetensorsFile::SafetensorsFile(const fs::path& path) : path_(path), stream_(path, std::ios::binary) {
  if (!stream_) fail(fmt::format("cannot be opened: {}{}", std::strerror(errno), reading_advice(errno)));
  read_header();
}

void SafetensorsFile::fail(const std::string& what) const {
  throw Error(ErrorKind::input, fmt::format("{}: {}", path_.string(), what));
}

std::vector<float> SafetensorsFile::read(const Tensor& tensor, const std::string& where) {
  const std::uint64_t width = width_of(tensor.dtype);
  std::uint64_t count = 1;
  for (const std::uint64_t side : tensor.shape) count *= side;
  const std::uint64_t bytes = count * width;
  if (tensor.end - tensor.begin != bytes) {
    fail(fmt::format(
        "{}: expected {} bytes of {} {}, found data_offsets of {}; the file is damaged: get it again", where,
        bytes, tensor.dtype, shape_text(tensor.shape), tensor.end - tensor.begin));
  }
  std::vector<char> raw(bytes);
  read_bytes(data_start_ + tensor.begin, raw, where);
  std::vector<float> values(count);
  for (std::uint64_t i = 0; i < count; ++i)
    values[i] = value_of(tensor.dtype, std::span(raw).subspan(i * width, width));
  return values;
}

float SafetensorsFile::read_first(const Tensor& tensor, const std::string& where) {
  std::vector<char> bytes(width_of(tensor.dtype));
  read_bytes(data_start_ + tensor.begin, bytes, where);
  return value_of(tensor.dtype, bytes);
}

void SafetensorsFile::read_bytes(std::uint64_t offset, std::span<char> bytes, const std::string& what) {
  stream_.clear();
  stream_.seekg(static_cast<std::streamoff>(offset));
  stream_.read(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  if (static_cast<std::size_t>(stream_.gcount()) != bytes.size()) {
    fail(fmt::format("{}: expected {} bytes, found {}; the file is incomplete: get it again", what,
                     bytes.size(), stream_.gcount()));
  }
}

void SafetensorsFile::read_header() {
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

  // The parser silently keeps one of two equal keys.
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
    fail(fmt::format("the header names {} twice, and either could be meant: save the file again",
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

/// Libraries write their own name as the format; kernels have the order of its dimensions.
void SafetensorsFile::read_metadata(const json& metadata) {
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

Tensor SafetensorsFile::tensor_of(const std::string& name, const json& entry) const {
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

/// The format demands that the tensors cover the data from start to end, each byte once.
void SafetensorsFile::check_offsets(std::uint64_t data_size) const {
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

}  // namespace filterscope::weights_formats
