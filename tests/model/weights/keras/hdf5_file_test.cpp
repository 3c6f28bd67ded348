#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "../fixtures.h"
#include "hdf5_writer.h"
#include "host/model/weights/weights.h"

namespace filterscope {
namespace {

using testing::AllOf;
using testing::HasSubstr;

class KerasHdf5 : public KerasFiles {};

hid_t float_type(std::size_t size, std::size_t exponent, std::size_t fraction, std::size_t bias) {
  const hid_t type = H5Tcopy(H5T_IEEE_F32LE);
  H5Tset_fields(type, exponent + fraction, fraction, exponent, 0, fraction);
  H5Tset_size(type, size);
  H5Tset_precision(type, 8 * size);
  H5Tset_ebias(type, bias);
  return type;
}

TEST_F(KerasHdf5, Floats) {
  // Multiples of 1/64 below 2 need 8 bits of fraction.
  const KerasNetwork tf32{.type = float_type(4, 8, 10, 127)};
  expect_tiny(load_weights(made(tf32, "", ""), tiny()));
  expect_tiny(load_weights(made({.type = H5T_NATIVE_LDOUBLE}, "", ""), tiny()));

  const KerasNetwork bfloat16{.layers = 1, .type = float_type(2, 8, 7, 127)};
  const Weights weights = load_weights(made(bfloat16, "", ""), tiny());
  const std::vector<float> exact = KerasNetwork{}.kernel(0);
  for (std::size_t i = 0; i < exact.size(); ++i)
    EXPECT_NEAR(weights.layers[0]->kernel[i], exact[i], 1 / 256.);

  EXPECT_THAT(load_error(made({.type = float_type(1, 4, 3, 7)}, "", "")), HasSubstr("found float8 (E4M3)"));
  EXPECT_THAT(load_error(made({.type = H5T_STD_I8LE}, "", "")), HasSubstr("found int8 (quantised?)"));
  EXPECT_THAT(load_error(made({.type = H5T_STD_U16LE}, "", "")),
              HasSubstr("found uint16 (the bits of bfloat16?)"));
}

TEST_F(KerasHdf5, OtherTypes) {
  const auto load = [&](hid_t type) {
    Hdf5Writer file(path("w.h5"));
    file.group("/block1_conv1");
    file.names("/block1_conv1", "weight_names", {"kernel:0"});
    H5Dclose(file.dataset("/block1_conv1/kernel:0", {3, 3, 3, 4}, type));
    file.names("/", "layer_names", {"block1_conv1"});
    return load_error(file.close());
  };
  const hid_t complex = H5Tcreate(H5T_COMPOUND, 8);
  H5Tinsert(complex, "r", 0, H5T_NATIVE_FLOAT);
  H5Tinsert(complex, "i", 4, H5T_NATIVE_FLOAT);
  EXPECT_THAT(load(complex), HasSubstr("found complex64 [3, 3, 3, 4]"));
  EXPECT_THAT(load(H5Tcreate(H5T_OPAQUE, 2)), HasSubstr("found opaque values of 16 bits (bfloat16?)"));
  const hid_t truth = H5Tenum_create(H5T_NATIVE_INT8);
  const std::int8_t one = 1;
  H5Tenum_insert(truth, "TRUE", &one);
  EXPECT_THAT(load(truth), HasSubstr("found an enumeration"));
}

TEST_F(KerasHdf5, BrainFloatsOfKeras3) {
  Hdf5Writer file(path("w.weights.h5"));
  const std::string vars = "/layers/conv2d/vars";
  file.group(vars);
  file.text(vars, "name", "block1_conv1");
  const hid_t type = H5Tcreate(H5T_OPAQUE, 2);
  for (const auto& [name, shape] :
       {std::pair<std::string, std::vector<hsize_t>>{"/0", {3, 3, 3, 4}}, {"/1", {4}}}) {
    const hid_t set = file.dataset(vars + name, shape, type);
    const std::vector<std::uint16_t> bits(108, 0xC020);  // -2.5
    H5Dwrite(set, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, bits.data());
    H5Dclose(set);
    file.text(vars + name, "dtype", "bfloat16");
  }
  const Weights weights = load_weights(file.close(), tiny());
  EXPECT_EQ(weights.layers[0]->kernel, std::vector<float>(108, -2.5f));
  EXPECT_EQ(weights.layers[0]->bias, std::vector<float>(4, -2.5f));
}

TEST_F(KerasHdf5, MissingFilter) {
  constexpr H5Z_filter_t kLzf = 32000;
  const H5Z_class2_t lzf{.version = H5Z_CLASS_T_VERS,
                         .id = kLzf,
                         .encoder_present = 1,
                         .decoder_present = 1,
                         .name = "lzf",
                         .can_apply = nullptr,
                         .set_local = nullptr,
                         .filter = [](unsigned, std::size_t, const unsigned*, std::size_t bytes, std::size_t*,
                                      void**) { return bytes; }};
  ASSERT_GE(H5Zregister(&lzf), 0);
  const hid_t creation = H5Pcreate(H5P_DATASET_CREATE);
  const std::vector<hsize_t> chunk{1, 1, 1, 1};
  H5Pset_chunk(creation, 4, chunk.data());
  H5Pset_filter(creation, kLzf, H5Z_FLAG_OPTIONAL, 0, nullptr);
  const fs::path file = made({.layers = 1, .creation = creation}, "", "");
  H5Pclose(creation);
  ASSERT_GE(H5Zunregister(kLzf), 0);
  EXPECT_THAT(load_error(file),
              AllOf(HasSubstr("layer block1_conv1: dataset /block1_conv1/block1_conv1/kernel:0"),
                    HasSubstr("HDF5 filter 32000 (lzf)"), HasSubstr("h5repack -f NONE IN OUT"),
                    Not(HasSubstr("damaged"))));
}

TEST_F(KerasHdf5, WrongChecksum) {
  const hid_t creation = H5Pcreate(H5P_DATASET_CREATE);
  const std::vector<hsize_t> chunk{3, 3, 3, 4};
  H5Pset_chunk(creation, 4, chunk.data());
  H5Pset_fletcher32(creation);
  const KerasNetwork network{.layers = 1, .creation = creation};
  const fs::path file = made(network, "", "");
  H5Pclose(creation);
  std::string bytes = bytes_of(file);
  const std::vector<float> values = network.kernel(0);
  const std::size_t at = bytes.find(std::string(reinterpret_cast<const char*>(values.data()), 64));
  ASSERT_NE(at, std::string::npos);
  bytes[at + 2] = static_cast<char>(bytes[at + 2] ^ 1);
  EXPECT_THAT(load_error(write(folder_, "w.h5", bytes)), AllOf(HasSubstr("checksum"), HasSubstr("damaged")));
}

// HDF5 reads unwritten values as zeros.
TEST_F(KerasHdf5, ValuesThatWereNeverWritten) {
  const auto load = [&](hid_t creation, bool first_chunk) {
    Hdf5Writer file(path("w.h5"));
    file.group("/block1_conv1");
    file.names("/block1_conv1", "weight_names", {"kernel:0", "bias:0"});
    const hid_t set = file.dataset("/block1_conv1/kernel:0", {3, 3, 3, 4}, H5T_IEEE_F32LE, creation);
    if (first_chunk) {
      const hid_t space = H5Dget_space(set);
      const std::vector<hsize_t> start(4);
      const std::vector<hsize_t> count{1, 3, 3, 4};
      H5Sselect_hyperslab(space, H5S_SELECT_SET, start.data(), nullptr, count.data(), nullptr);
      const hsize_t size = 36;
      const hid_t memory = H5Screate_simple(1, &size, nullptr);
      H5Dwrite(set, H5T_NATIVE_FLOAT, memory, space, H5P_DEFAULT, std::vector<float>(36, 1.f).data());
      H5Sclose(memory);
      H5Sclose(space);
    }
    H5Dclose(set);
    file.floats("/block1_conv1/bias:0", {4}, std::vector<float>(4));
    file.names("/", "layer_names", {"block1_conv1"});
    return load_error(file.close());
  };
  const hid_t chunked = H5Pcreate(H5P_DATASET_CREATE);
  const std::vector<hsize_t> chunk{1, 3, 3, 4};
  H5Pset_chunk(chunked, 4, chunk.data());
  EXPECT_THAT(load(H5P_DEFAULT, false), HasSubstr("expected values, found none or only some"));
  EXPECT_THAT(load(chunked, false), HasSubstr("expected values, found none or only some"));
#if H5_VERSION_GE(1, 10, 5)
  EXPECT_THAT(load(chunked, true), HasSubstr("expected values, found none or only some"));
#endif
  H5Pclose(chunked);
}

TEST_F(KerasHdf5, VirtualDataset) {
  Hdf5Writer file(path("w.h5"));
  file.floats("/values", {3, 3, 3, 4}, std::vector<float>(108));
  file.group("/block1_conv1");
  file.names("/block1_conv1", "weight_names", {"kernel:0"});
  const std::vector<hsize_t> shape{3, 3, 3, 4};
  const hid_t space = H5Screate_simple(4, shape.data(), nullptr);
  const hid_t creation = H5Pcreate(H5P_DATASET_CREATE);
  H5Pset_virtual(creation, space, ".", "/values", space);
  H5Dclose(file.dataset("/block1_conv1/kernel:0", shape, H5T_IEEE_F32LE, creation));
  H5Pclose(creation);
  H5Sclose(space);
  file.names("/", "layer_names", {"block1_conv1"});
  EXPECT_THAT(load_error(file.close()), HasSubstr("found a virtual dataset"));
}

TEST_F(KerasHdf5, UserBlock) {
  for (const hsize_t size : {512, 4096}) {
    Hdf5Writer file(path("w.h5"), size);
    KerasNetwork{}.write(file);
    expect_tiny(load_weights(file.close(), tiny()));
  }
}

TEST_F(KerasHdf5, NewerHdf5) {
  std::string bytes = bytes_of(made({}, "", ""));
  bytes[8] = 9;  // The version of the superblock.
  EXPECT_THAT(load_error(write(folder_, "w.h5", bytes)),
              HasSubstr("written in a newer format than this program's HDF5"));
}

TEST_F(KerasHdf5, FileThatWasNotClosed) {
  const hid_t access = H5Pcreate(H5P_FILE_ACCESS);
  H5Pset_libver_bounds(access, H5F_LIBVER_LATEST, H5F_LIBVER_LATEST);
  const hid_t file = H5Fcreate(path("open.h5").c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, access);
  ASSERT_GE(H5Fstart_swmr_write(file), 0);
  H5Fflush(file, H5F_SCOPE_GLOBAL);
  const std::string bytes = bytes_of(path("open.h5"));
  H5Fclose(file);
  H5Pclose(access);
  EXPECT_THAT(load_error(write(folder_, "w.h5", bytes)),
              AllOf(HasSubstr("h5clear -s"), Not(HasSubstr("damaged"))));
}

}  // namespace
}  // namespace filterscope
