#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>
#include <vector>

#include "host/base/error.h"
#include "host/model/weights/weights.h"
#include "tests/support/temporary_folder.h"

namespace filterscope {

namespace fs = std::filesystem;

inline const fs::path kData = fs::path(FILTERSCOPE_TEST_DATA) / "weights";

/// The network of tests/data/make_weights.py.
inline const Network& tiny() {
  static const Network network{
      .name = "tiny",
      .convolutions = {
          {"block1_conv1", 3, 4, false}, {"block1_conv2", 4, 5, true}, {"block2_conv1", 5, 2, false}}};
  return network;
}

inline std::vector<float> made_values(int layer, int salt, std::size_t count) {
  std::vector<float> values(count);
  for (std::size_t i = 0; i < count; ++i) {
    values[i] = static_cast<float>(static_cast<int>((i * 37 + layer * 11 + salt) % 201) - 100) / 64.f;
  }
  return values;
}

inline void expect_layer(const Weights& weights, int layer) {
  const Convolution& convolution = tiny().convolutions[layer];
  ASSERT_TRUE(weights.holds(layer));
  EXPECT_EQ(weights.layers[layer]->kernel,
            made_values(layer, 5,
                        static_cast<std::size_t>(9) * convolution.in_channels * convolution.out_channels));
  EXPECT_EQ(weights.layers[layer]->bias, made_values(layer, 70, convolution.out_channels));
}

/// The message of the Error that `function` throws; fails the test if it throws none or one of another kind.
template <typename Function>
std::string error_of(Function function, ErrorKind kind = ErrorKind::input) {
  try {
    function();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), kind) << error.what();
    return error.what();
  }
  ADD_FAILURE() << "no Error";
  return "";
}

inline std::string load_error(const fs::path& path, const Network& network = tiny()) {
  return error_of([&] { load_weights(path, network); });
}

/// Writes a file in `folder`; `name` may include folders, which are created.
inline fs::path write(const TemporaryFolder& folder, const std::string& name, std::string_view bytes) {
  fs::create_directories((folder / name).parent_path());
  std::ofstream(folder / name, std::ios::binary) << bytes;
  return folder / name;
}

inline std::string bytes_of(const fs::path& path) {
  std::ifstream stream(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(stream), {}};
}

}  // namespace filterscope
