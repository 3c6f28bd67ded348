#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <ostream>
#include <string>
#include <string_view>
#include <vector>

#include "../fixtures.h"
#include "host/ascent/recipe.h"
#include "host/model/network.h"
#include "host/model/weights/formats.h"
#include "host/model/weights/weights.h"

namespace filterscope {
namespace {

using testing::AllOf;
using testing::HasSubstr;

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

// Outside the child, sanitizers' findings fail the test instead of being taken for damage.
TEST_P(KerasLayout, LoadsWithoutTheChild) {
  std::vector<std::string> read;
  const auto contents = weights_formats::read_keras_hdf5_unguarded(
      kData / GetParam(), tiny(), [&](std::string_view what) { read.emplace_back(what); });
  Weights weights;
  weights.layers = contents.layers;
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
  // The sums are from sha256sum.
  const TemporaryFolder folder;
  const std::string bytes = bytes_of(kData / "keras1_fixed.h5");
  EXPECT_EQ(load_weights(kData / "keras1_fixed.h5", tiny()).sha256,
            "b1a1c8974b2b4b057254ecc21cc68568bd8c5758dca035926cef13820f5647e7");
  // Bytes after the last object change the sum but not the values.
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
              {"layer block1_conv1", "/block1_conv1/again/kernel:0", "already has a kernel",
               "/block1_conv1/block1_conv1/kernel:0"}},
        Fault{"model_without_names.h5", {"/model_weights", "layer_names, found none"}},
        Fault{"other_network.h5", {"no layer of tiny", "block1_conv1", "found input_1, conv1, conv2, conv3"}},
        Fault{"not_keras.h5", {"not Keras weights", "layer_names"}},
        Fault{"cycle.h5", {"group /layers/loop/loop", "10 deep"}},
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

TEST(KerasWeights, OtherNetwork) {
  EXPECT_THAT(load_error(kData / "keras1_fixed.h5", vgg16()),
              AllOf(HasSubstr("layer block1_conv1"), HasSubstr("[3, 3, 3, 64]"), HasSubstr("[3, 3, 3, 4]"),
                    HasSubstr("not vgg16's weights")));
}

// Like VGG19's weights for VGG16: if their further layers were ignored, only the pictures would show the
// error.
TEST(OtherNetworksWeights, WithMoreConvolutionsAreRefused) {
  Network smaller = tiny();
  smaller.name = "smaller";
  smaller.convolutions.erase(smaller.convolutions.begin() + 1);
  for (const char* file : {"keras1_fixed.h5", "keras2_fixed.h5", "keras2_inner_network.h5",
                           "keras3_named.weights.h5", "keras3_folders.weights.h5"}) {
    EXPECT_THAT(load_error(kData / file, smaller),
                HasSubstr("holds block1_conv2, which smaller does not have: these are another network's"))
        << file;
  }
  smaller.convolutions = tiny().convolutions;
  smaller.convolutions.pop_back();
  EXPECT_THAT(load_error(kData / "f32.safetensors", smaller),
              HasSubstr("holds features.5.bias, which torchvision's smaller does not have"));
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
  // The first numbers of VGG16, as published in many places.
  EXPECT_FLOAT_EQ(weights.layers[0]->kernel[0], 0.42947057f);
  EXPECT_NEAR(weights.layers[0]->bias[0], 0.73429835, 2.5e-4);
}

}  // namespace
}  // namespace filterscope
