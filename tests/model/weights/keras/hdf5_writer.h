#pragma once

#include <gtest/gtest.h>
#include <hdf5.h>

#include <algorithm>
#include <string>
#include <vector>

#include "../fixtures.h"

namespace filterscope {

/// Writes an HDF5 file for a test.
class Hdf5Writer {
 public:
  explicit Hdf5Writer(const fs::path& path, hsize_t user_block = 0) : path_(path) {
    fs::create_directories(path.parent_path());
    const hid_t creation = H5Pcreate(H5P_FILE_CREATE);
    H5Pset_userblock(creation, user_block);
    file_ = H5Fcreate(path.c_str(), H5F_ACC_TRUNC, creation, H5P_DEFAULT);
    H5Pclose(creation);
    links_ = H5Pcreate(H5P_LINK_CREATE);
    H5Pset_create_intermediate_group(links_, 1);
  }
  ~Hdf5Writer() { close(); }
  Hdf5Writer(const Hdf5Writer&) = delete;
  Hdf5Writer& operator=(const Hdf5Writer&) = delete;

  /// Closes the file and returns its path.
  const fs::path& close() {
    if (file_ >= 0) {
      H5Pclose(links_);
      H5Fclose(file_);
    }
    file_ = H5I_INVALID_HID;
    return path_;
  }

  hid_t id() const { return file_; }

  void group(const std::string& path) {
    H5Gclose(H5Gcreate2(file_, path.c_str(), links_, H5P_DEFAULT, H5P_DEFAULT));
  }

  /// Writes an attribute of strings of fixed length.
  void names(const std::string& object, const std::string& name, const std::vector<std::string>& values) {
    std::size_t size = 1;
    for (const std::string& value : values) size = std::max(size, value.size());
    std::string bytes;
    for (const std::string& value : values) bytes += value + std::string(size - value.size(), '\0');
    const hid_t type = H5Tcopy(H5T_C_S1);
    H5Tset_size(type, size);
    H5Tset_strpad(type, H5T_STR_NULLPAD);
    const hsize_t count = values.size();
    const hid_t space = H5Screate_simple(1, &count, nullptr);
    attribute(object, name, type, space, bytes.data());
    H5Sclose(space);
    H5Tclose(type);
  }

  /// Writes an attribute of one string, of variable length as h5py writes str, or of fixed length as it
  /// writes bytes.
  void text(const std::string& object, const std::string& name, const std::string& value,
            bool variable = true) {
    const hid_t type = H5Tcopy(H5T_C_S1);
    H5Tset_size(type, variable ? H5T_VARIABLE : value.size());
    if (!variable) H5Tset_strpad(type, H5T_STR_NULLPAD);
    const hid_t space = H5Screate(H5S_SCALAR);
    const char* const start = value.c_str();
    attribute(object, name, type, space, variable ? static_cast<const void*>(&start) : start);
    H5Sclose(space);
    H5Tclose(type);
  }

  /// Writes a dataset; HDF5 converts the floats to `type`.
  void floats(const std::string& path, const std::vector<hsize_t>& shape, const std::vector<float>& values,
              hid_t type = H5T_IEEE_F32LE, hid_t creation = H5P_DEFAULT) {
    const hid_t set = dataset(path, shape, type, creation);
    EXPECT_GE(H5Dwrite(set, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, values.data()), 0);
    H5Dclose(set);
  }

  /// Creates a dataset without values.
  hid_t dataset(const std::string& path, const std::vector<hsize_t>& shape, hid_t type,
                hid_t creation = H5P_DEFAULT) {
    const hid_t space = H5Screate_simple(static_cast<int>(shape.size()), shape.data(), nullptr);
    const hid_t set = H5Dcreate2(file_, path.c_str(), type, space, links_, creation, H5P_DEFAULT);
    EXPECT_GE(set, 0) << path;
    H5Sclose(space);
    return set;
  }

 private:
  void attribute(const std::string& object, const std::string& name, hid_t type, hid_t space,
                 const void* data) {
    const hid_t holder = H5Oopen(file_, object.c_str(), H5P_DEFAULT);
    const hid_t made = H5Acreate2(holder, name.c_str(), type, space, H5P_DEFAULT, H5P_DEFAULT);
    EXPECT_GE(H5Awrite(made, type, data), 0) << name;
    H5Aclose(made);
    H5Oclose(holder);
  }

  fs::path path_;
  hid_t file_ = H5I_INVALID_HID;
  hid_t links_ = H5I_INVALID_HID;
};

/// Writes the network of fixtures.h as Keras 2 does, with changes.
struct KerasNetwork {
  std::string parent = {};  ///< "/model_weights"
  /// The order of a kernel's dimensions; 0: rows, 1: columns, 2: in, 3: out.
  std::vector<int> order{0, 1, 2, 3};
  bool rotated = false;
  int layers = 3;
  hid_t type = H5T_IEEE_F32LE;
  hid_t creation = H5P_DEFAULT;

  std::vector<float> kernel(int layer) const {
    const Convolution& convolution = tiny().convolutions[layer];
    const std::vector<hsize_t> sides = shape(convolution);
    const auto in = static_cast<std::size_t>(convolution.in_channels);
    const auto out = static_cast<std::size_t>(convolution.out_channels);
    const std::vector<float> values = made_values(layer, 5, 9 * in * out);
    std::vector<float> ordered;
    std::vector<std::size_t> at(4);
    for (std::size_t i = 0; i < values.size(); ++i) {
      std::size_t rest = i;
      for (std::size_t dimension = 4; dimension-- > 0;) {
        at[order[dimension]] = rest % sides[dimension];
        rest /= sides[dimension];
      }
      const std::size_t row = rotated ? 2 - at[0] : at[0];
      const std::size_t column = rotated ? 2 - at[1] : at[1];
      ordered.push_back(values[((row * 3 + column) * in + at[2]) * out + at[3]]);
    }
    return ordered;
  }

  std::vector<hsize_t> shape(const Convolution& convolution) const {
    const std::vector<int> sides{3, 3, convolution.in_channels, convolution.out_channels};
    std::vector<hsize_t> ordered;
    for (const int dimension : order) ordered.push_back(static_cast<hsize_t>(sides[dimension]));
    return ordered;
  }

  /// `others`: further groups, each before the layer with that number.
  void write(Hdf5Writer& file, const std::vector<std::pair<int, std::string>>& others = {}) const {
    std::vector<std::string> names;
    for (int layer = 0; layer <= layers; ++layer) {
      for (const auto& [before, other] : others)
        if (before == layer) names.push_back(other);
      if (layer == layers) break;
      const Convolution& convolution = tiny().convolutions[layer];
      const std::string group = parent + "/" + convolution.name;
      const std::string inner = convolution.name + "/";
      names.push_back(convolution.name);
      file.group(group);
      file.names(group, "weight_names", {inner + "kernel:0", inner + "bias:0"});
      file.floats(group + "/" + inner + "kernel:0", shape(convolution), kernel(layer), type, creation);
      file.floats(group + "/" + inner + "bias:0", {static_cast<hsize_t>(convolution.out_channels)},
                  made_values(layer, 70, static_cast<std::size_t>(convolution.out_channels)), type);
    }
    if (!parent.empty() && layers == 0) file.group(parent);
    file.names(parent.empty() ? "/" : parent, "layer_names", names);
  }
};

/// Tests that write files of Keras.
class KerasFiles : public testing::Test {
 protected:
  fs::path path(const std::string& name) const { return folder_ / name; }
  void expect_tiny(const Weights& weights) const {
    for (int layer = 0; layer < 3; ++layer) expect_layer(weights, layer);
  }
  /// Writes the network, and attributes of the group that holds it.
  fs::path made(const KerasNetwork& network, const std::string& backend, const std::string& version,
                const std::string& name = "w.h5") const {
    Hdf5Writer file(path(name));
    network.write(file);
    const std::string group = network.parent.empty() ? "/" : network.parent;
    if (!backend.empty()) file.text(group, "backend", backend);
    if (!version.empty()) file.text(group, "keras_version", version);
    return file.close();
  }
  TemporaryFolder folder_;
};

}  // namespace filterscope
