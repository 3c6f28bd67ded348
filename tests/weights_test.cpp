#include "host/weights.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <vector>

#include "host/error.h"
#include "host/philox.h"
#include "host/weights_formats.h"
#include "support/reference.h"
#include "support/temporary_folder.h"

namespace filterscope {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;

const fs::path kData = fs::path(FILTERSCOPE_TEST_DATA) / "weights";

/// The network of tests/data/make_weights.py.
const Network& tiny() {
  static const Network network{
      .name = "tiny",
      .convolutions = {
          {"block1_conv1", 3, 4, false}, {"block1_conv2", 4, 5, true}, {"block2_conv1", 5, 2, false}}};
  return network;
}

std::vector<float> made_values(int layer, int salt, std::size_t count) {
  std::vector<float> values(count);
  for (std::size_t i = 0; i < count; ++i) {
    values[i] = static_cast<float>(static_cast<int>((i * 37 + layer * 11 + salt) % 201) - 100) / 64.f;
  }
  return values;
}

void expect_layer(const Weights& weights, int layer) {
  const Convolution& convolution = tiny().convolutions[layer];
  ASSERT_TRUE(weights.holds(layer));
  EXPECT_EQ(weights.layers[layer]->kernel,
            made_values(layer, 5,
                        static_cast<std::size_t>(9) * convolution.in_channels * convolution.out_channels));
  EXPECT_EQ(weights.layers[layer]->bias, made_values(layer, 70, convolution.out_channels));
}

/// The message of the Error that `function` throws; a failure if it throws none or one of another kind.
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

std::string load_error(const fs::path& path, const Network& network = tiny()) {
  return error_of([&] { load_weights(path, network); });
}

/// Writes a file in `folder`, whose parents it makes.
fs::path write(const TemporaryFolder& folder, const std::string& name, std::string_view bytes) {
  fs::create_directories((folder / name).parent_path());
  std::ofstream(folder / name, std::ios::binary) << bytes;
  return folder / name;
}

std::string bytes_of(const fs::path& path) {
  std::ifstream stream(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(stream), {}};
}

// ---------------------------------------------------------------------------------------------------- Keras'
// HDF5

class KerasLayout : public testing::TestWithParam<const char*> {};

TEST_P(KerasLayout, Loads) {
  const Weights weights = load_weights(kData / GetParam(), tiny());
  EXPECT_EQ(weights.name, GetParam());
  EXPECT_EQ(weights.path, kData / GetParam());
  EXPECT_EQ(weights.kind, WeightsKind::keras_hdf5);
  EXPECT_EQ(weights.natural_input, keras_mapping());
  EXPECT_EQ(weights.sha256.size(), 64u);
  EXPECT_FALSE(weights.synthetic());
  ASSERT_EQ(weights.layers.size(), 3u);
  for (int layer = 0; layer < 3; ++layer) expect_layer(weights, layer);
}

INSTANTIATE_TEST_SUITE_P(All, KerasLayout,
                         testing::Values("keras1_fixed.h5", "keras1_variable.h5", "keras1_latest.h5",
                                         "keras1_compressed.h5", "keras1_float16.h5", "keras1_float64.h5",
                                         "keras1_big_endian.h5", "keras2_fixed.h5", "keras2_with_top.h5",
                                         "keras2_model.h5", "keras2_long_attributes.h5",
                                         "keras2_inner_network.h5", "keras3_counted.weights.h5",
                                         "keras3_named.weights.h5", "keras3_folders.weights.h5",
                                         "keras3_dependencies.weights.h5", "keras3_inner_network.weights.h5"),
                         [](const auto& parameter) {
                           std::string name = parameter.param;
                           std::ranges::replace(name, '.', '_');
                           return name;
                         });

// Outside the child the sanitizers' findings are not taken for damage.
TEST_P(KerasLayout, LoadsWithoutTheChild) {
  std::vector<std::string> read;
  const auto layers = weights_formats::read_keras_hdf5_unguarded(
      kData / GetParam(), tiny(), [&](std::string_view what) { read.emplace_back(what); });
  Weights weights;
  weights.layers = layers;
  for (int layer = 0; layer < 3; ++layer) expect_layer(weights, layer);
  EXPECT_THAT(read, testing::Contains(HasSubstr("layer block2_conv1: dataset /")));
}

TEST(KerasWeights, SomeLayers) {
  const Weights weights = load_weights(kData / "keras1_partial.h5", tiny());
  ASSERT_EQ(weights.layers.size(), 3u);
  expect_layer(weights, 0);
  EXPECT_FALSE(weights.holds(1));
  expect_layer(weights, 2);
}

TEST(KerasWeights, Sha256) {
  // By sha256sum.
  const TemporaryFolder folder;
  const std::string bytes = bytes_of(kData / "keras1_fixed.h5");
  EXPECT_EQ(load_weights(kData / "keras1_fixed.h5", tiny()).sha256,
            "b1a1c8974b2b4b057254ecc21cc68568bd8c5758dca035926cef13820f5647e7");
  // Bytes after the last object change the sum and not the values.
  const Weights longer = load_weights(write(folder, "longer.h5", bytes + std::string(3 << 20, 'x')), tiny());
  EXPECT_EQ(longer.sha256, "61a5e9b6cd1ad9cf30cff7b533b99352afc957671b9d78b11dd95883c8632820");
}

struct Fault {
  const char* file;
  std::vector<const char*> says;
};
std::ostream& operator<<(std::ostream& stream, const Fault& fault) {
  return stream << fault.file;
}

class KerasFault : public testing::TestWithParam<Fault> {};

TEST_P(KerasFault, IsAnErrorThatNamesIt) {
  const fs::path path = kData / GetParam().file;
  const std::string message = load_error(path);
  EXPECT_THAT(message, testing::StartsWith(path.string() + ": "));
  for (const char* part : GetParam().says) EXPECT_THAT(message, HasSubstr(part));
  EXPECT_EQ(
      error_of([&] { weights_formats::read_keras_hdf5_unguarded(path, tiny(), [](std::string_view) {}); }),
      message);
}

INSTANTIATE_TEST_SUITE_P(
    All, KerasFault,
    testing::Values(
        Fault{"wrong_kernel_shape.h5",
              {"layer block1_conv2", "/block1_conv2/block1_conv2_W_1:0", "float32 [3, 3, 4, 5]",
               "float32 [3, 3, 4, 6]", "not tiny's weights"}},
        Fault{"wrong_bias_shape.h5",
              {"layer block1_conv1", "_b_1:0", "expected float32 [4], found float32 [1, 4]"}},
        Fault{"scalar_bias.h5", {"layer block1_conv1", "_b_1:0", "expected float32 [4], found float32 []"}},
        Fault{"integers.h5",
              {"layer block2_conv1", "expected float32 [3, 3, 5, 2], found int32 [3, 3, 5, 2]"}},
        Fault{"opaque.h5", {"layer block1_conv1", "expected float32 [4], found opaque values of 16 bits"}},
        Fault{"nan.h5",
              {"layer block1_conv2", "dataset /block1_conv2/block1_conv2_W_1:0", "nan at [2, 1, 3, 0]"}},
        Fault{"infinite.h5", {"layer block2_conv1", "_b_1:0", "-inf at [1]"}},
        Fault{"overflowing.h5", {"layer block1_conv1", "_W_1:0", "inf at [0, 0, 0, 1]"}},
        Fault{"no_bias.h5",
              {"layer block1_conv2", "kernel and a bias", "only /block1_conv2/block1_conv2_W_1:0"}},
        Fault{"no_kernel.h5",
              {"layer block1_conv2", "kernel and a bias", "only /block1_conv2/block1_conv2_b_1:0"}},
        Fault{"integer_names.h5", {"attribute layer_names of /", "expected strings, found int64"}},
        Fault{"missing_dataset.h5", {"/block1_conv2/block1_conv2/bias:0 is listed", "not there"}},
        Fault{"missing_group.h5", {"/block1_conv2 is listed", "not there"}},
        Fault{"no_weight_names.h5", {"/block1_conv2", "weight_names, found none"}},
        Fault{"group_for_dataset.h5", {"layer block1_conv1", "expected a dataset, found a group"}},
        Fault{"dataset_for_group.h5", {"expected a group above /block1_conv1/kernel:0, found a dataset"}},
        Fault{"soft_link.h5", {"/block1_conv1/block1_conv1/bias:0", "soft or external link"}},
        Fault{"external_link.h5", {"/block1_conv1/block1_conv1/bias:0", "soft or external link"}},
        Fault{"external_values.h5", {"layer block1_conv1", "expected values in this file"}},
        Fault{"twice.h5",
              {"layer block1_conv1", "/block1_conv1/again/kernel:0", "has this kernel already",
               "/block1_conv1/block1_conv1/kernel:0"}},
        Fault{"model_without_names.h5", {"/model_weights", "layer_names, found none"}},
        Fault{"other_network.h5", {"no layer of tiny", "block1_conv1", "found input_1, conv1, conv2, conv3"}},
        Fault{"not_keras.h5", {"not Keras weights", "layer_names"}},
        Fault{"cycle.h5", {"group /layers/loop/loop", "damaged"}},
        Fault{"other_network.weights.h5", {"no layer of tiny", "found dense, dense_1"}},
        Fault{"wrong_order.weights.h5",
              {"layer block1_conv2: dataset /layers/conv2d_1/vars/0",
               "[3, 3, 4, 5], found float32 [3, 3, 5, 2]"}},
        Fault{"too_many.weights.h5",
              {"/layers/conv2d_3/vars", "the 3 convolutions of tiny, found number 4"}}),
    [](const auto& parameter) {
      std::string name = parameter.param.file;
      std::ranges::replace(name, '.', '_');
      return name;
    });

TEST(KerasWeights, TruncatedAnywhere) {
  const TemporaryFolder folder;
  const std::string bytes = bytes_of(kData / "keras2_fixed.h5");
  for (std::size_t length = 8; length < bytes.size(); length += 997) {
    const fs::path path = write(folder, "cut.h5", std::string_view(bytes).substr(0, length));
    EXPECT_THAT(load_error(path), AllOf(HasSubstr("cut.h5: "), HasSubstr("damaged")));
  }
}

TEST(KerasWeights, OfAnotherNetwork) {
  EXPECT_THAT(load_error(kData / "keras1_fixed.h5", vgg16()),
              AllOf(HasSubstr("layer block1_conv1"), HasSubstr("[3, 3, 3, 64]"), HasSubstr("[3, 3, 3, 4]"),
                    HasSubstr("not vgg16's weights")));
}

// As VGG19's for VGG16: without what they have more, nothing but the pictures would tell.
TEST(OtherNetworksWeights, WithMoreConvolutionsAreRefused) {
  Network smaller = tiny();
  smaller.name = "smaller";
  smaller.convolutions.pop_back();
  for (const char* file : {"keras1_fixed.h5", "keras2_fixed.h5", "keras2_inner_network.h5",
                           "keras3_named.weights.h5", "keras3_folders.weights.h5"}) {
    EXPECT_THAT(load_error(kData / file, smaller),
                HasSubstr("holds block2_conv1, which smaller does not have: these are another network's"))
        << file;
  }
  EXPECT_THAT(load_error(kData / "f32.safetensors", smaller),
              HasSubstr("holds features.5.weight, which torchvision's smaller does not have"));
}

TEST(KerasWeights, RealFile) {
  const fs::path path = FILTERSCOPE_REAL_WEIGHTS;
  if (!fs::exists(path)) GTEST_SKIP() << path << " is not there";
  const Weights weights = load_weights(path, vgg16());
  EXPECT_EQ(weights.sha256, "813f1ff0ed21aa804747b411e2701187f48909375f7e537e795be5b1eebc0ba7");
  EXPECT_EQ(weights.kind, WeightsKind::keras_hdf5);
  ASSERT_EQ(weights.layers.size(), 13u);
  for (int layer = 0; layer < 13; ++layer) {
    EXPECT_EQ(weights.holds(layer), layer < 4) << vgg16().convolutions[layer].name;
    if (layer < 4) {
      EXPECT_EQ(weights.layers[layer]->kernel.size() + weights.layers[layer]->bias.size(),
                static_cast<std::size_t>(vgg16().convolutions[layer].parameters()));
    }
  }
  // Published in many places: the first numbers of VGG16.
  EXPECT_FLOAT_EQ(weights.layers[0]->kernel[0], 0.42947057f);
  EXPECT_NEAR(weights.layers[0]->bias[0], 0.73429835, 2.5e-4);
}

// ------------------------------------------------------------------------------------------------ the child
// process

std::string child_error(const std::function<weights_formats::Layers(const weights_formats::At&)>& reader) {
  const weights_formats::ChildLimits limits{.processor_seconds = 1, .scratch_bytes = std::uint64_t{64} << 20};
  return error_of([&] { weights_formats::read_in_child("some.h5", tiny(), reader, limits); });
}

TEST(ChildProcess, GivesBackLayers) {
  const auto layers = weights_formats::read_in_child("some.h5", tiny(), [](const weights_formats::At&) {
    weights_formats::Layers made(3);
    made[0] = LayerWeights{.kernel = made_values(0, 5, 108), .bias = made_values(0, 70, 4)};
    made[2] = LayerWeights{.kernel = made_values(2, 5, 90), .bias = made_values(2, 70, 2)};
    return made;
  });
  Weights weights;
  weights.layers = layers;
  expect_layer(weights, 0);
  EXPECT_FALSE(weights.holds(1));
  expect_layer(weights, 2);
}

TEST(ChildProcess, ErrorsPassThrough) {
  EXPECT_EQ(child_error([](const weights_formats::At&) -> weights_formats::Layers {
              throw Error(ErrorKind::input, "some.h5: a fault");
            }),
            "some.h5: a fault");
}

// No thread of this process may run while it forks, so what it has to do itself is done after that.
TEST(ChildProcess, LeavesTimeForTheParent) {
  using weights_formats::At;
  using weights_formats::Layers;
  int calls = 0;
  const auto run = [](const std::function<Layers(const At&)>& reader,
                      const std::function<void()>& meanwhile) {
    weights_formats::read_in_child("some.h5", tiny(), reader, {}, meanwhile);
  };
  const auto nothing = [](const At&) { return Layers(3); };
  const auto refused = [](const At&) -> Layers { throw Error(ErrorKind::input, "the child's"); };
  const auto failing = [] { throw Error(ErrorKind::input, "the parent's"); };
  run(nothing, [&calls] { ++calls; });
  EXPECT_EQ(calls, 1);
  EXPECT_EQ(error_of([&] { run(nothing, failing); }), "the parent's");
  EXPECT_EQ(error_of([&] { run(refused, failing); }), "the child's");

  // Neither is done before the other.
  int to_parent[2];
  int to_child[2];
  ASSERT_EQ(pipe(to_parent), 0);
  ASSERT_EQ(pipe(to_child), 0);
  const auto meet = [](int own, int other) {
    constexpr int kMilliseconds = 20'000;
    char byte = 0;
    pollfd readable{.fd = other, .events = POLLIN, .revents = 0};
    const bool met = ::write(own, &byte, 1) == 1 && poll(&readable, 1, kMilliseconds) == 1;
    if (!met) throw Error(ErrorKind::input, "waited in vain");
  };
  EXPECT_NO_THROW(run(
      [&](const At&) {
        meet(to_parent[1], to_child[0]);
        return Layers(3);
      },
      [&] { meet(to_child[1], to_parent[0]); }));
  for (const int end : {to_parent[0], to_parent[1], to_child[0], to_child[1]}) close(end);
}

TEST(ChildProcess, CrashIsAnError) {
  for (const int number : {SIGSEGV, SIGABRT, SIGFPE, SIGKILL}) {
    EXPECT_THAT(child_error([number](const weights_formats::At& at) -> weights_formats::Layers {
                  at("layer block1_conv1");
                  raise(number);
                  return {};
                }),
                AllOf(HasSubstr("some.h5: "), HasSubstr("at layer block1_conv1; the file is damaged")));
  }
}

TEST(ChildProcess, EndlessLoopIsAnError) {
  sigset_t blocked;
  sigfillset(&blocked);
  sigprocmask(SIG_BLOCK, &blocked, nullptr);
  EXPECT_THAT(child_error([](const weights_formats::At&) -> weights_formats::Layers {
                volatile bool forever = true;
                while (forever) {
                }
                return {};
              }),
              HasSubstr("ran without end"));
}

TEST(ChildProcess, BoundlessMemoryIsAnError) {
#if defined(__SANITIZE_ADDRESS__)
  GTEST_SKIP() << "the address sanitizer needs all address space";
#endif
  EXPECT_THAT(child_error([](const weights_formats::At&) {
                std::vector<std::vector<char>> all;
                for (int i = 0; i < 1 << 11; ++i) all.emplace_back(1 << 20);
                return weights_formats::Layers(all.size());
              }),
              HasSubstr("more memory than these weights can need"));
}

TEST(ChildProcess, StrangeEndsAreErrors) {
  EXPECT_THAT(
      child_error([](const weights_formats::At&) -> weights_formats::Layers { throw std::logic_error("?"); }),
      HasSubstr("gave up (exit code 3)"));
  EXPECT_THAT(child_error([](const weights_formats::At&) -> weights_formats::Layers { _exit(0); }),
              HasSubstr("damaged"));
}

TEST(ChildProcess, WorksWhenChildrenAreIgnored) {
  signal(SIGCHLD, SIG_IGN);
  expect_layer(load_weights(kData / "keras1_fixed.h5", tiny()), 1);
  EXPECT_THAT(load_error(kData / "nan.h5"), HasSubstr("nan at"));
}

// ------------------------------------------------------------------------------------------------------
// safetensors

class SafetensorsType : public testing::TestWithParam<const char*> {};

TEST_P(SafetensorsType, Loads) {
  const Weights weights = load_weights(kData / GetParam(), tiny());
  EXPECT_EQ(weights.kind, WeightsKind::safetensors);
  EXPECT_EQ(weights.natural_input, torchvision_mapping());
  EXPECT_EQ(weights.sha256.size(), 64u);
  for (int layer = 0; layer < 3; ++layer) expect_layer(weights, layer);
}

INSTANTIATE_TEST_SUITE_P(All, SafetensorsType,
                         testing::Values("f32.safetensors", "f16.safetensors", "bf16.safetensors"),
                         [](const auto& parameter) {
                           return std::string(parameter.param, std::strchr(parameter.param, '.'));
                         });

TEST(Safetensors, TorchvisionsNumbers) {
  EXPECT_THAT(weights_formats::torchvision_indices(vgg16()),
              ElementsAre(0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28));
}

/// A safetensors file out of its parts.
std::string safetensors(const nlohmann::json& header, const std::string& data) {
  const std::string text = header.dump();
  std::string bytes;
  for (int shift = 0; shift < 64; shift += 8) bytes += static_cast<char>(text.size() >> shift & 0xFF);
  return bytes + text + data;
}

/// One convolution 1 -> 2 whose kernel is `kernel` repeated, in the given type of 16 bits.
Weights load_sixteen_bits(const std::string& dtype, const std::vector<std::uint16_t>& values) {
  static const Network network{.name = "one", .convolutions = {{"block1_conv1", 1, 2, false}}};
  std::string data;
  for (std::size_t i = 0; i < 20; ++i) {
    const std::uint16_t value = i < values.size() ? values[i] : 0;
    data += static_cast<char>(value & 0xFF);
    data += static_cast<char>(value >> 8);
  }
  const TemporaryFolder folder;
  return load_weights(
      write(folder, "w.safetensors",
            safetensors({{"features.0.weight",
                          {{"dtype", dtype}, {"shape", {2, 1, 3, 3}}, {"data_offsets", {0, 36}}}},
                         {"features.0.bias", {{"dtype", dtype}, {"shape", {2}}, {"data_offsets", {36, 40}}}}},
                        data)),
      network);
}

TEST(Safetensors, EveryHalf) {
  for (std::uint32_t first = 0; first < 0x10000; first += 18) {
    std::vector<std::uint16_t> bits;
    for (std::uint32_t i = first; i < std::min(first + 18, 0x10000u); ++i) {
      if ((i >> 10 & 31) != 31) bits.push_back(static_cast<std::uint16_t>(i));
    }
    // One file for every 18 numbers would take long; the ends of each exponent's range and the subnormals
    // matter.
    if ((first >> 10 & 31) != 0 && (first & 0x3FF) > 18 && (first & 0x3FF) < 0x3FF - 36) continue;
    const Weights weights = load_sixteen_bits("F16", bits);
    for (std::size_t i = 0; i < bits.size(); ++i) {
      const int exponent = bits[i] >> 10 & 31;
      const double fraction = bits[i] & 0x3FF;
      const double magnitude =
          exponent == 0 ? std::ldexp(fraction, -24) : std::ldexp(1024 + fraction, exponent - 25);
      const float expected = static_cast<float>((bits[i] & 0x8000) != 0 ? -magnitude : magnitude);
      const float found = weights.layers[0]->kernel[(i % 9) * 2 + i / 9];
      ASSERT_EQ(std::bit_cast<std::uint32_t>(found), std::bit_cast<std::uint32_t>(expected)) << bits[i];
    }
  }
}

TEST(Safetensors, BrainFloats) {
  // 1, -2, the largest, the smallest subnormal, -0
  const Weights weights = load_sixteen_bits("BF16", {0x3F80, 0xC000, 0x7F7F, 0x0001, 0x8000});
  const std::vector<float>& kernel = weights.layers[0]->kernel;
  EXPECT_EQ(kernel[0], 1.f);
  EXPECT_EQ(kernel[2], -2.f);
  EXPECT_EQ(kernel[4], 0x1.FEp127f);
  EXPECT_EQ(kernel[6], 0x1p-133f);
  EXPECT_TRUE(kernel[8] == 0.f && std::signbit(kernel[8]));
}

TEST(Safetensors, NotFinite) {
  EXPECT_THAT(
      error_of([] {
        load_sixteen_bits("F16", {0, 0, 0, 0, 0x7C00});
      }),
      AllOf(HasSubstr("layer block1_conv1"), HasSubstr("features.0.weight holds inf at [0, 0, 1, 1]")));
  EXPECT_THAT(error_of([] { load_sixteen_bits("F16", {0, 0xFE01}); }), HasSubstr("nan at [0, 0, 0, 1]"));
  EXPECT_THAT(error_of([] { load_sixteen_bits("BF16", {0xFF80}); }), HasSubstr("-inf at [0, 0, 0, 0]"));
}

/// Faults are made by changing the header or the data of a good file.
class SafetensorsFault : public testing::Test {
 protected:
  SafetensorsFault() {
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

TEST_F(SafetensorsFault, Shape) {
  header_["features.2.weight"]["shape"] = {4, 5, 3, 3};
  EXPECT_THAT(load(),
              AllOf(HasSubstr("layer block1_conv2: tensor features.2.weight"), HasSubstr("BF16 [5, 4, 3, 3]"),
                    HasSubstr("found F32 [4, 5, 3, 3]"), HasSubstr("not torchvision's tiny")));
}

TEST_F(SafetensorsFault, AbsurdShape) {
  header_["features.2.weight"]["shape"] = {5, 4, 3, std::uint64_t{1} << 62};
  EXPECT_THAT(load(), HasSubstr("found F32 [5, 4, 3, 4611686018427387904]"));
}

TEST_F(SafetensorsFault, Type) {
  header_["features.5.bias"]["dtype"] = "I32";
  EXPECT_THAT(load(),
              AllOf(HasSubstr("layer block2_conv1: tensor features.5.bias"), HasSubstr("found I32 [2]")));
}

TEST_F(SafetensorsFault, TypeOfAnotherSize) {
  header_["features.5.bias"]["dtype"] = "F16";
  EXPECT_THAT(load(), AllOf(HasSubstr("layer block2_conv1: tensor features.5.bias"),
                            HasSubstr("expected 4 bytes"), HasSubstr("found data_offsets of 8")));
}

TEST_F(SafetensorsFault, HalfALayer) {
  header_["renamed"] = header_["features.2.bias"];
  header_.erase("features.2.bias");
  EXPECT_THAT(load(), AllOf(HasSubstr("layer block1_conv2"), HasSubstr("found only features.2.weight")));
}

TEST_F(SafetensorsFault, SomeLayersAreFine) {
  for (const char* part : {"weight", "bias"}) {
    const std::string old_name = fmt::format("features.2.{}", part);
    header_[fmt::format("unknown.{}", part)] = header_[old_name];
    header_.erase(old_name);
  }
  const Weights weights = load_weights(write(folder_, "w.safetensors", safetensors(header_, data_)), tiny());
  expect_layer(weights, 0);
  EXPECT_FALSE(weights.holds(1));
  expect_layer(weights, 2);
}

TEST_F(SafetensorsFault, OtherNetwork) {
  EXPECT_THAT(load_raw(safetensors(
                  {{"conv1.weight", {{"dtype", "F32"}, {"shape", {1}}, {"data_offsets", {0, 4}}}}}, "1234")),
              AllOf(HasSubstr("no layer of torchvision's tiny"), HasSubstr("features.0.weight"),
                    HasSubstr("found conv1.weight")));
  EXPECT_THAT(load_raw(safetensors(nlohmann::json::object(), "")), HasSubstr("found none"));
}

TEST_F(SafetensorsFault, Offsets) {
  const nlohmann::json good = header_;
  header_["features.0.bias"]["data_offsets"] = {0, 16};
  EXPECT_THAT(load(), AllOf(HasSubstr("may not overlap"), HasSubstr("data_offsets")));
  header_ = good;
  header_["features.0.weight"]["data_offsets"] = {432, 0};
  EXPECT_THAT(load(), HasSubstr("data_offsets"));
  header_ = good;
  header_["classifier.0.weight"]["data_offsets"][1] = std::uint64_t{1} << 63;
  EXPECT_THAT(load(), HasSubstr("expected 9223372036854775808 bytes of data"));
  header_ = good;
  header_["features.0.bias"]["data_offsets"] = {-1, 16};
  EXPECT_THAT(load(), HasSubstr("tensor features.0.bias: expected dtype, shape and data_offsets"));
  header_ = good;
  header_["features.0.bias"]["data_offsets"] = {1.5, 16};
  EXPECT_THAT(load(), HasSubstr("whole numbers"));
  header_ = good;
  header_["features.0.bias"].erase("shape");
  EXPECT_THAT(load(), HasSubstr("expected dtype, shape"));
  header_["features.0.bias"] = 3;
  EXPECT_THAT(load(), HasSubstr("expected a JSON object"));
}

TEST_F(SafetensorsFault, Length) {
  const std::string bytes = safetensors(header_, data_);
  EXPECT_THAT(
      load_raw(bytes.substr(0, bytes.size() - 1)),
      AllOf(HasSubstr(fmt::format("expected {} bytes of data", data_.size())), HasSubstr("incomplete")));
  EXPECT_THAT(load_raw(bytes + "x"), HasSubstr("bytes of data"));
  EXPECT_THAT(load_raw(bytes.substr(0, 100)), AllOf(HasSubstr("only 92 follow"), HasSubstr("incomplete")));
  EXPECT_THAT(load_raw(bytes.substr(0, 9)), HasSubstr("only 1 follow"));
}

TEST_F(SafetensorsFault, Header) {
  EXPECT_THAT(load_raw(std::string("\x05\0\0\0\0\0\0\0{\"a\":", 13)), HasSubstr("header in JSON"));
  EXPECT_THAT(load_raw(std::string("\xFF\xFF\xFF\xFF\0\0\0\0{}", 10)),
              HasSubstr("header should have 4294967295 bytes"));
  std::string nested(8, '\0');
  nested[2] = 1;
  nested += "{\"a\":" + std::string(65531, '[');
  EXPECT_THAT(load_raw(nested), HasSubstr("header in JSON"));
}

TEST_F(SafetensorsFault, NanInF32) {
  const auto begin = header_["features.2.bias"]["data_offsets"][0].get<std::size_t>();
  const float nan = std::nanf("");
  std::memcpy(data_.data() + begin + 8, &nan, 4);
  EXPECT_THAT(load(), AllOf(HasSubstr("layer block1_conv2"), HasSubstr("features.2.bias holds nan at [2]")));
}

// ------------------------------------------------------------------------------------------------------
// other files

TEST(LoadWeights, OtherFiles) {
  const TemporaryFolder folder;
  const auto error = [&](const std::string& name, std::string_view bytes) {
    return load_error(write(folder, name, bytes));
  };
  EXPECT_THAT(error("vgg16.pth", std::string_view("PK\x03\x04 and more")),
              AllOf(HasSubstr("vgg16.pth: "), HasSubstr("PyTorch"), HasSubstr("safetensors.torch")));
  EXPECT_THAT(error("old.pth", std::string_view("\x80\x02\x8a\x0al\xfc\x9c")), HasSubstr("PyTorch"));
  EXPECT_THAT(error("model.keras", std::string_view("PK\x03\x04 and more")), HasSubstr("model.weights.h5"));
  EXPECT_THAT(error("a.h5", "<?xml version='1.0'?><Error>"), HasSubstr("failed download"));
  EXPECT_THAT(error("a.h5", "version https://git-lfs.github.com/spec/v1\noid"), HasSubstr("git lfs pull"));
  EXPECT_THAT(error("a.h5", ""), HasSubstr("an empty file"));
  EXPECT_THAT(error("a.h5", "some words"),
              AllOf(HasSubstr("neither HDF5 nor safetensors"), HasSubstr("weights/README.md")));
  EXPECT_THAT(load_error(folder.path()), HasSubstr("found a folder"));
  EXPECT_THAT(load_error(folder.path() / "none.h5"),
              AllOf(HasSubstr("none.h5: no such file"), HasSubstr("weights/fetch.sh")));
}

// ------------------------------------------------------------------------------------------- where weights
// are found

/// An empty folder as working folder and home, and no $FILTERSCOPE_WEIGHTS.
class WeightsPlaces : public testing::Test {
 protected:
  WeightsPlaces() : before_(fs::current_path()) {
    fs::current_path(folder_.path());
    setenv("HOME", folder_.path().c_str(), 1);
    unsetenv("FILTERSCOPE_WEIGHTS");
  }
  ~WeightsPlaces() override { fs::current_path(before_); }

  const std::string bytes_ = bytes_of(kData / "keras1_fixed.h5");
  const std::string official_ = "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5";
  const std::string with_top_ = "vgg16_weights_tf_dim_ordering_tf_kernels.h5";
  TemporaryFolder folder_;

 private:
  fs::path before_;
};

TEST_F(WeightsPlaces, NothingFound) {
  const auto places = weights_places();
  ASSERT_EQ(places.size(), 2u);
  EXPECT_EQ(places[0].origin, "weights/");
  EXPECT_EQ(places[1].origin, "~/.keras/models/");
  EXPECT_EQ(places[1].path, folder_.path() / ".keras/models");
  for (const WeightsPlace& place : places) EXPECT_FALSE(place.found);
  EXPECT_THAT(error_of([] { resolve_weights(std::nullopt, tiny()); }),
              AllOf(HasSubstr("weights/"), HasSubstr("~/.keras/models/"), HasSubstr("weights/fetch.sh"),
                    HasSubstr("--weights synthetic"), HasSubstr("FILTERSCOPE_WEIGHTS")));
}

TEST_F(WeightsPlaces, OrderInAFolder) {
  write(folder_, "weights/b.safetensors", "");
  EXPECT_EQ(weights_places()[0].found, "weights/b.safetensors");
  write(folder_, "weights/a.h5", "");
  write(folder_, "weights/README.md", "");
  fs::create_directories("weights/0.h5");
  EXPECT_EQ(weights_places()[0].found, "weights/a.h5");
  write(folder_, "weights/" + with_top_, "");
  EXPECT_EQ(weights_places()[0].found, "weights/" + with_top_);
  write(folder_, "weights/" + official_, "");
  EXPECT_EQ(weights_places()[0].found, "weights/" + official_);
}

TEST_F(WeightsPlaces, KerasFolderHoldsOtherNetworks) {
  write(folder_, ".keras/models/resnet50.h5", "");
  EXPECT_FALSE(weights_places()[1].found);
  write(folder_, ".keras/models/vgg16_mine.h5", "");
  EXPECT_EQ(weights_places()[1].found, folder_.path() / ".keras/models/vgg16_mine.h5");
  write(folder_, ".keras/models/" + official_, bytes_);
  EXPECT_EQ(resolve_weights(std::nullopt, tiny()).name, official_);
  write(folder_, "weights/mine.h5", bytes_);
  EXPECT_EQ(resolve_weights(std::nullopt, tiny()).name, "mine.h5");
}

TEST_F(WeightsPlaces, Variable) {
  write(folder_, "weights/mine.h5", bytes_);
  const fs::path file = write(folder_, "elsewhere/theirs.h5", bytes_);
  setenv("FILTERSCOPE_WEIGHTS", file.c_str(), 1);
  EXPECT_EQ(weights_places()[0].origin, "$FILTERSCOPE_WEIGHTS");
  EXPECT_EQ(resolve_weights(std::nullopt, tiny()).name, "theirs.h5");
  setenv("FILTERSCOPE_WEIGHTS", file.parent_path().c_str(), 1);
  EXPECT_EQ(resolve_weights(std::nullopt, tiny()).name, "theirs.h5");
  setenv("FILTERSCOPE_WEIGHTS", "nowhere", 1);
  EXPECT_THAT(error_of([] { resolve_weights(std::nullopt, tiny()); }),
              HasSubstr("$FILTERSCOPE_WEIGHTS nowhere: no such file"));
  setenv("FILTERSCOPE_WEIGHTS", "synthetic:7", 1);
  EXPECT_EQ(resolve_weights(std::nullopt, tiny()).name, "synthetic:7");
  setenv("FILTERSCOPE_WEIGHTS", "synthetic:x", 1);
  EXPECT_THAT(error_of([] { resolve_weights(std::nullopt, tiny()); }, ErrorKind::usage),
              HasSubstr("$FILTERSCOPE_WEIGHTS synthetic:x"));
  setenv("FILTERSCOPE_WEIGHTS", "", 1);
  EXPECT_EQ(resolve_weights(std::nullopt, tiny()).name, "mine.h5");
}

TEST_F(WeightsPlaces, Option) {
  write(folder_, "weights/mine.h5", bytes_);
  const std::string file = write(folder_, "elsewhere/theirs.h5", bytes_).string();
  ASSERT_EQ(weights_places(file).size(), 1u);
  EXPECT_EQ(weights_places(file)[0].origin, "--weights");
  EXPECT_EQ(resolve_weights(file, tiny()).name, "theirs.h5");
  EXPECT_EQ(resolve_weights("elsewhere", tiny()).name, "theirs.h5");
  EXPECT_THAT(error_of([] { resolve_weights("nowhere.h5", tiny()); }),
              HasSubstr("--weights nowhere.h5: no such file"));
  fs::create_directories("empty");
  EXPECT_THAT(error_of([] { resolve_weights("empty", tiny()); }),
              HasSubstr("--weights empty: a folder without weights"));
}

TEST_F(WeightsPlaces, Synthetic) {
  EXPECT_EQ(resolve_weights("synthetic", tiny()).name, "synthetic:0");
  EXPECT_EQ(resolve_weights("synthetic:18446744073709551615", tiny()).name, "synthetic:18446744073709551615");
  for (const char* option :
       {"synthetic:", "synthetic:x", "synthetic:-1", "synthetic:1 ", "synthetic:18446744073709551616"}) {
    EXPECT_THAT(error_of([&] { resolve_weights(option, tiny()); }, ErrorKind::usage),
                AllOf(HasSubstr(option), HasSubstr("synthetic:SEED")));
  }
  EXPECT_THAT(error_of([] { resolve_weights("synthetics", tiny()); }), HasSubstr("no such file"));
}

// ---------------------------------------------------------------------------------------------------- the
// stand-in

/// FNV-1a over the values' bits.
std::uint64_t checksum(const Weights& weights) {
  std::uint64_t hash = 0xcbf29ce484222325u;
  const auto add = [&](const std::vector<float>& values) {
    for (const float value : values) {
      const auto bits = std::bit_cast<std::uint32_t>(value);
      for (int shift = 0; shift < 32; shift += 8) hash = (hash ^ (bits >> shift & 0xFF)) * 0x100000001b3u;
    }
  };
  for (const auto& layer : weights.layers) {
    add(layer->kernel);
    add(layer->bias);
  }
  return hash;
}

// What was rendered from the stand-in once must be rendered again: these numbers are for ever.
TEST(SyntheticWeights, SameNumbersEverywhere) {
  EXPECT_EQ(checksum(synthetic_weights(vgg16())), 7586450486512585989u);
  EXPECT_EQ(checksum(synthetic_weights(vgg16(), 1)), 1605194534133019957u);
}

TEST(SyntheticWeights, Describes) {
  const Weights weights = synthetic_weights(vgg16(), 42);
  EXPECT_EQ(weights.name, "synthetic:42");
  EXPECT_TRUE(weights.synthetic());
  EXPECT_TRUE(weights.path.empty());
  EXPECT_TRUE(weights.sha256.empty());
  EXPECT_EQ(weights.natural_input, identity_mapping());
  ASSERT_EQ(weights.layers.size(), 13u);
  for (int layer = 0; layer < 13; ++layer) {
    const Convolution& convolution = vgg16().convolutions[layer];
    ASSERT_TRUE(weights.holds(layer));
    EXPECT_EQ(weights.layers[layer]->kernel.size(),
              static_cast<std::size_t>(9) * convolution.in_channels * convolution.out_channels);
    EXPECT_EQ(weights.layers[layer]->bias.size(), static_cast<std::size_t>(convolution.out_channels));
  }
}

TEST(SyntheticWeights, FirstLayerIsEdgesAndBlobs) {
  const Weights weights = synthetic_weights(vgg16());
  const auto at = [&](int y, int x, int channel, int filter) {
    return weights.layers[0]->kernel[((y * 3 + x) * 3 + channel) * 64 + filter];
  };
  for (int filter = 0; filter < 64; ++filter) {
    double sum = 0;
    double squares = 0;
    for (int tap = 0; tap < 27; ++tap) {
      const double value = weights.layers[0]->kernel[tap * 64 + filter];
      sum += value;
      squares += value * value;
    }
    EXPECT_NEAR(sum, 0, 1e-5) << filter;
    EXPECT_NEAR(squares, 12, 1e-4) << filter;
    for (int channel = 0; channel < 3; ++channel) {
      if (filter % 4 < 2) {
        // Odd about the centre: an edge.
        EXPECT_EQ(at(1, 1, channel, filter), 0.f);
        EXPECT_NEAR(at(0, 0, channel, filter), -at(2, 2, channel, filter), 1e-6);
        EXPECT_NEAR(at(0, 1, channel, filter), -at(2, 1, channel, filter), 1e-6);
        if (filter % 4 == 0) {
          EXPECT_EQ(at(0, 1, channel, filter), at(0, 1, 0, filter));
        }
      } else {
        EXPECT_NEAR(at(0, 0, channel, filter), at(2, 2, channel, filter), 1e-6);
      }
      if (filter % 4 == 3) {
        EXPECT_FLOAT_EQ(at(1, 1, channel, filter), 4 * at(0, 0, channel, filter));
      }
    }
    for (int other = 0; other < filter; ++other) {
      double product = 0;
      for (int tap = 0; tap < 27; ++tap) {
        product += weights.layers[0]->kernel[tap * 64 + filter] * weights.layers[0]->kernel[tap * 64 + other];
      }
      EXPECT_LT(product, 12 * 0.9999) << filter << " is the same as " << other;
    }
  }
}

TEST(SyntheticWeights, ActivationsStayInRange) {
  const Network& network = vgg16();
  for (const std::uint64_t seed : {0, 3}) {
    const Weights weights = synthetic_weights(network, seed);
    const Extent extent{32, 32};
    reference::Map map(extent, 3, reference::noise_image(InitialImage{}, 7, 0, 0, extent));
    for (int layer = 0; layer < network.layer_count(); ++layer) {
      const Convolution& convolution = network.convolutions[layer];
      map = reference::relu(
          reference::convolve(map, weights.layers[layer]->kernel, weights.layers[layer]->bias));
      double sum = 0;
      std::vector<bool> alive(convolution.out_channels, false);
      for (std::size_t i = 0; i < map.values.size(); ++i) {
        sum += map.values[i];
        if (map.values[i] > 0) alive[i % convolution.out_channels] = true;
      }
      const double mean = sum / static_cast<double>(map.values.size());
      EXPECT_GT(mean, 0.2) << convolution.name;
      EXPECT_LT(mean, 1.0) << convolution.name;
      EXPECT_LT(std::ranges::count(alive, false), convolution.out_channels / 10) << convolution.name;
      if (convolution.pool_after) map = reference::max_pool(map);
    }
  }
}

}  // namespace
}  // namespace filterscope
