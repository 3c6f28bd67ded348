#pragma once

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <nlohmann/json_fwd.hpp>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tensors.h"

namespace filterscope::weights_formats {

/// An entry of a safetensors header. `begin` and `end` are offsets in bytes from the start of the data.
struct Tensor {
  std::string name;
  std::string dtype;  ///< Printable.
  std::vector<std::uint64_t> shape;
  std::uint64_t begin = 0;
  std::uint64_t end = 0;
};

/// Bytes of a value; 0 for a type that is not read.
std::uint64_t width_of(std::string_view dtype);

/// A safetensors file: its header, checked when it is opened, and access to the values. All members throw an
/// input Error that names the file.
class SafetensorsFile {
 public:
  explicit SafetensorsFile(const std::filesystem::path& path);

  const std::vector<Tensor>& tensors() const { return tensors_; }
  /// The format in the metadata, which is the name of the library that wrote the file; empty if missing.
  const std::string& format() const { return format_; }
  /// The order in which that library stores kernels; PyTorch's if the format is missing.
  KernelOrder order() const { return order_; }

  [[noreturn]] void fail(const std::string& what) const;

  /// All values of a tensor whose width_of() is not 0; `where` names it in messages.
  std::vector<float> read(const Tensor& tensor, const std::string& where);
  /// Its first value. The tensor must have one.
  float read_first(const Tensor& tensor, const std::string& where);

 private:
  void read_bytes(std::uint64_t offset, std::span<char> bytes, const std::string& what);
  void read_header();
  void read_metadata(const nlohmann::json& metadata);
  Tensor tensor_of(const std::string& name, const nlohmann::json& entry) const;
  void check_offsets(std::uint64_t data_size) const;

  std::filesystem::path path_;
  std::ifstream stream_;
  std::uint64_t data_start_ = 0;
  std::vector<Tensor> tensors_;
  std::string format_;
  KernelOrder order_ = KernelOrder::oihw;
};

}  // namespace filterscope::weights_formats
