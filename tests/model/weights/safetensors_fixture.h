#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <cstring>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "fixtures.h"

namespace filterscope {

/// A safetensors file made of its parts.
inline std::string safetensors(const nlohmann::json& header, const std::string& data) {
  const std::string text = header.dump();
  std::string bytes;
  for (int shift = 0; shift < 64; shift += 8) bytes += static_cast<char>(text.size() >> shift & 0xFF);
  return bytes + text + data;
}

/// Changes the header or the data of a good file.
class ChangedSafetensors : public testing::Test {
 protected:
  ChangedSafetensors() {
    const std::string bytes = bytes_of(kData / "f32.safetensors");
    std::uint64_t length = 0;
    std::memcpy(&length, bytes.data(), 8);
    header_ = nlohmann::json::parse(bytes.substr(8, length));
    data_ = bytes.substr(8 + length);
  }
  std::string load() { return load_raw(safetensors(header_, data_)); }
  std::string load_raw(std::string_view bytes) { return load_error(write(folder_, "w.safetensors", bytes)); }
  TemporaryFolder folder_;
  nlohmann::json header_;
  std::string data_;
};

}  // namespace filterscope
