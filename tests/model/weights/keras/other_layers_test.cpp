#include <fmt/format.h>
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
using testing::ElementsAre;
using testing::HasSubstr;

class KerasOtherLayers : public KerasFiles {};

TEST_F(KerasOtherLayers, LayersAmongTheConvolutions) {
  const auto load = [&](const std::vector<std::pair<int, std::string>>& others, const std::string& with,
                        const std::vector<hsize_t>& shape) {
    Hdf5Writer file(path("w.h5"));
    KerasNetwork{}.write(file, others);
    for (const auto& [before, name] : others) {
      file.group("/" + name);
      file.names("/" + name, "weight_names", with.empty() ? std::vector<std::string>{} : std::vector{with});
      if (!with.empty()) file.floats("/" + name + "/" + with, shape, std::vector<float>(16));
    }
    return load_weights(file.close(), tiny());
  };
  EXPECT_THAT(error_of([&] {
                load({{1, "bn1"}}, "bn1/gamma:0", {4});
              }),
              HasSubstr("holds /bn1/bn1/gamma:0 among the convolutions of tiny, which has no such layer"));
  EXPECT_THAT(error_of([&] {
                load({{2, "average_pooling2d_7"}}, "", {});
              }),
              HasSubstr("/average_pooling2d_7"));
  expect_tiny(load({{1, "fc"}}, "fc/kernel:0", {4, 4}));  // Another branch's.
  expect_tiny(load({{1, "block1_pool"}}, "", {}));
  expect_tiny(load({{3, "batch_normalization"}}, "gamma:0", {4}));
  const Weights weights = load({{0, "rescaling_1"}}, "", {});
  expect_tiny(weights);
  EXPECT_EQ(weights.natural_input, std::nullopt);
  EXPECT_THAT(
      weights.notes,
      ElementsAre("without the layers that its images pass through before block1_conv1: rescaling_1"));
  EXPECT_THAT(load({{0, "normalization"}}, "mean:0", {3}).notes, ElementsAre(HasSubstr(": normalization")));
}

// A network that is a layer of another model is one group, in which weights that are not trained come last.
TEST_F(KerasOtherLayers, NormalisationsInAnInnerNetwork) {
  struct Weight {
    std::string name;
    std::vector<hsize_t> shape;
  };
  const auto load = [&](const std::vector<Weight>& before, const std::vector<Weight>& after) {
    Hdf5Writer file(path("w.h5"));
    KerasNetwork{}.write(file);
    file.group("/vgg16");
    std::vector<std::string> names;
    const auto add = [&](const Weight& weight) {
      names.push_back(weight.name);
      file.floats("/vgg16/" + weight.name, weight.shape, std::vector<float>(64));
    };
    for (const Weight& weight : before) add(weight);
    for (const Convolution& convolution : tiny().convolutions) {
      H5Lmove(file.id(), ("/" + convolution.name + "/" + convolution.name).c_str(), file.id(),
              ("/vgg16/" + convolution.name).c_str(), H5P_DEFAULT, H5P_DEFAULT);
      for (const char* part : {"/kernel:0", "/bias:0"}) names.push_back(convolution.name + part);
    }
    for (const Weight& weight : after) add(weight);
    file.names("/vgg16", "weight_names", names);
    H5Adelete_by_name(file.id(), "/", "layer_names", H5P_DEFAULT);
    file.names("/", "layer_names", {"vgg16"});
    return load_weights(file.close(), tiny());
  };
  const auto refusal = [&](const auto& before, const auto& after) {
    return error_of([&] { load(before, after); });
  };
  const Weight dense{"fc/kernel:0", {3, 4}};
  const Weight gamma{"bn/gamma:0", {4}};
  const Weight mean{"bn/moving_mean:0", {4}};
  expect_tiny(load({}, {dense, gamma, mean}));
  expect_tiny(load({dense, gamma}, {mean}));  // The convolutions are not trained.
  EXPECT_THAT(refusal(std::vector<Weight>{}, std::vector{gamma, mean}),
              AllOf(HasSubstr("holds /vgg16/bn/gamma:0 besides the convolutions"), HasSubstr("config.json")));
  EXPECT_THAT(refusal(std::vector{dense, gamma}, std::vector{mean, Weight{"bn2/moving_mean:0", {4}}}),
              HasSubstr("/vgg16/bn/gamma:0"));
  // These may follow the last convolution and its pool.
  expect_tiny(load({}, {{"bn/gamma:0", {2}}, {"bn/moving_mean:0", {2}}}));
  EXPECT_THAT(refusal(std::vector<Weight>{}, std::vector{Weight{"bn/moving_mean:0", {2}}}),
              HasSubstr("/vgg16/bn/moving_mean:0"));
  // Images pass through it; there is only one.
  EXPECT_THAT(load({}, {{"normalization/mean:0", {3}}}).notes,
              ElementsAre(HasSubstr("may pass through before block1_conv1: normalization")));
}

TEST_F(KerasOtherLayers, FurtherBlocks) {
  Hdf5Writer file(path("w.h5"));
  KerasNetwork{}.write(file, {{3, "block6_conv1"}});
  file.group("/block6_conv1");
  file.names("/block6_conv1", "weight_names", {"block6_conv1/kernel:0"});
  file.floats("/block6_conv1/block6_conv1/kernel:0", {3, 3, 2, 2}, std::vector<float>(36));
  expect_tiny(load_weights(file.close(), tiny()));
}

// Wrappers for pruning, quantisation and spectral normalisation keep the layer's own weights next to others.
TEST_F(KerasOtherLayers, WeightsThatAConvolutionLacks) {
  const auto load = [&](const std::string& group, const std::string& extra) {
    Hdf5Writer file(path("w.h5"));
    file.group("/" + group);
    file.names("/" + group, "weight_names", {"block1_conv1/kernel:0", "block1_conv1/bias:0", extra});
    file.floats("/" + group + "/block1_conv1/kernel:0", {3, 3, 3, 4}, std::vector<float>(108));
    for (const std::string& name : {std::string("block1_conv1/bias:0"), extra})
      file.floats("/" + group + "/" + name, {4}, std::vector<float>(4));
    file.names("/", "layer_names", {group});
    return load_error(file.close());
  };
  EXPECT_THAT(
      load("block1_conv1", "block1_conv1/g:0"),
      AllOf(HasSubstr("layer block1_conv1"), HasSubstr("block1_conv1/g:0, which a Conv2D does not have")));
  EXPECT_THAT(load("block1_conv1", "block1_conv1/kernel_min:0"), HasSubstr("kernel_min:0, which a Conv2D"));
  EXPECT_THAT(load("quant_block1_conv1", "quant_block1_conv1/kernel_min:0"),
              HasSubstr("in a layer around the convolutions"));
  EXPECT_THAT(load("vgg16", "bn1/moving_mean:0"), HasSubstr("bn1/moving_mean:0 besides the convolutions"));
}

TEST_F(KerasOtherLayers, Keras0) {
  Hdf5Writer file(path("w.h5"));
  file.text("/", "nb_layers", "37");
  EXPECT_THAT(load_error(file.close()),
              AllOf(HasSubstr("weights of Keras 0"), HasSubstr("weights/fetch.sh")));
}

/// Writes a group of Keras 3, with the weights of `layer` unless that is negative.
void keras3_layer(Hdf5Writer& file, const std::string& folder, const std::string& name, int layer) {
  const std::string group = "/layers/" + folder + "/vars";
  file.group(group);
  if (!name.empty()) file.text(group, "name", name);
  if (layer < 0) return;
  const KerasNetwork network;
  const Convolution& convolution = tiny().convolutions[layer];
  file.floats(group + "/0", network.shape(convolution), network.kernel(layer));
  file.floats(group + "/1", {static_cast<hsize_t>(convolution.out_channels)},
              made_values(layer, 70, static_cast<std::size_t>(convolution.out_channels)));
}

TEST_F(KerasOtherLayers, LayersOfKeras3) {
  const auto load = [&](const std::string& second, bool named, const std::string& other, hsize_t channels) {
    Hdf5Writer file(path("w.weights.h5"));
    keras3_layer(file, "conv2d", named ? "block1_conv1" : "", 0);
    keras3_layer(file, second, named ? "block1_conv2" : "", 1);
    keras3_layer(file, "conv2d_2", named ? "block2_conv1" : "", 2);
    if (!other.empty()) keras3_layer(file, other, "", -1);
    if (channels > 0)
      file.floats("/layers/" + other + "/vars/0", {channels}, std::vector<float>(channels, 1.f));
    return load_weights(file.close(), tiny());
  };
  const auto refusal = [&](auto... arguments) { return error_of([&] { load(arguments...); }); };
  for (const bool named : {false, true}) {
    expect_tiny(load("conv2d_1", named, "", 0));
    EXPECT_THAT(refusal("conv2d_1", named, "batch_normalization", 5),
                HasSubstr("/layers/batch_normalization/vars"));
    expect_tiny(load("conv2d_1", named, "batch_normalization", 33));  // The classifier's.
    EXPECT_THAT(refusal("conv2d_1", named, "leaky_re_lu_1", 0), HasSubstr("may be between them"));
    EXPECT_THAT(refusal("conv2d_1", named, "average_pooling2d", 0), HasSubstr("may be between them"));
    const Weights weights = load("conv2d_1", named, "rescaling", 0);
    EXPECT_THAT(weights.notes, ElementsAre(HasSubstr("before block1_conv1: rescaling")));
    EXPECT_EQ(weights.natural_input, std::nullopt);
  }
  EXPECT_THAT(refusal("conv2d_transpose", true, "", 0),
              HasSubstr("layer block1_conv2: expected a Conv2D, found /layers/conv2d_transpose/vars"));
  EXPECT_THAT(refusal("conv2d_1", false, "conv2d_transpose", 3), HasSubstr("may be between them"));
  expect_tiny(load("conv2d_1", true, "conv2d_transpose", 3));

  EXPECT_THAT(error_of([&] {
                Hdf5Writer file(path("w.weights.h5"));
                keras3_layer(file, "conv2d", "block1_conv1", 0);
                keras3_layer(file, "rescaling", "", -1);
                keras3_layer(file, "rescaling_1", "", -1);
                load_weights(file.close(), tiny());
              }),
              HasSubstr("/layers/rescaling/vars"));
  const auto rescaled_elsewhere = [&] {
    Hdf5Writer other(path("w.weights.h5"));
    keras3_layer(other, "conv2d", "block1_conv1", 0);
    for (const char* folder : {"rescaling", "rescaling_1"})
      keras3_layer(other, fmt::format("functional/layers/{}", folder), "", -1);
    return load_weights(other.close(), tiny());
  };
  EXPECT_THAT(rescaled_elsewhere().notes,
              ElementsAre(HasSubstr("may pass through before block1_conv1: rescaling, rescaling_1")));

  Hdf5Writer file(path("w.weights.h5"));
  keras3_layer(file, "conv2d", "block1_conv1", 0);
  file.floats("/layers/conv2d/vars/2", {4}, std::vector<float>(4));
  EXPECT_THAT(load_error(file.close()), HasSubstr("expected a kernel 0 and a bias 1, found more"));
}

TEST_F(KerasOtherLayers, ConvolutionsOfKeras3WithOtherNames) {
  const auto load = [&](const std::vector<std::string>& names) {
    Hdf5Writer file(path("w.weights.h5"));
    for (int layer = 0; layer < static_cast<int>(names.size()); ++layer)
      keras3_layer(file, layer == 0 ? "conv2d" : fmt::format("conv2d_{}", layer), names[layer], layer);
    return load_weights(file.close(), tiny());
  };
  expect_tiny(load({"", "", ""}));
  expect_tiny(load({"conv2d_3", "conv2d_4", "conv2d_5"}));
  for (const auto& names :
       std::vector<std::vector<std::string>>{{""}, {"", ""}, {"conv2d_3"}, {"c1", "c2"}}) {
    EXPECT_THAT(error_of([&] { load(names); }),
                AllOf(HasSubstr(fmt::format("holds {} convolution", names.size())),
                      HasSubstr("without a name of tiny's, such as block1_conv1; only all 3")));
  }
  expect_layer(load({"block1_conv1"}), 0);
}

// Layers that could be between the convolutions are elsewhere if other layers can precede each of them.
TEST_F(KerasOtherLayers, HeadsOfKeras3) {
  using Shape = std::vector<hsize_t>;
  const auto refusal = [&](const std::vector<std::pair<std::string, Shape>>& head) -> std::string {
    Hdf5Writer file(path("w.weights.h5"));
    for (int layer = 0; layer < 3; ++layer)
      keras3_layer(file, layer == 0 ? "conv2d" : fmt::format("conv2d_{}", layer),
                   tiny().convolutions[layer].name, layer);
    for (const auto& [folder, shape] : head) {
      keras3_layer(file, folder, folder == "conv2d_3" ? "block6_conv1" : "", -1);
      if (!shape.empty()) file.floats("/layers/" + folder + "/vars/0", shape, std::vector<float>(100));
    }
    try {
      expect_tiny(load_weights(file.close(), tiny()));
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  };
  for (const char* norm : {"batch_normalization", "layer_normalization"}) {
    EXPECT_EQ(refusal({{norm, {5}}, {"dense", {9, 5}}}), "");
    EXPECT_EQ(refusal({{norm, {2}}, {"global_average_pooling2d", {}}}), "");
    EXPECT_EQ(refusal({{norm, {5}}, {"conv2d_3", {3, 3, 2, 5}}}), "");
    EXPECT_EQ(refusal({{norm, {5}}, {"conv2d_transpose", {2, 2, 5, 2}}}), "");
    const auto is_refused = AllOf(HasSubstr(fmt::format("holds /layers/{}/vars", norm)),
                                  HasSubstr("may be between them"), HasSubstr("as .keras"));
    EXPECT_THAT(refusal({{norm, {5}}, {"dense", {5, 9}}}), is_refused);
    EXPECT_THAT(refusal({{norm, {4}}, {"global_average_pooling2d", {}}}), is_refused);
    EXPECT_THAT(refusal({{norm, {5}}, {std::string(norm) + "_1", {5}}, {"dense", {9, 5}}}), is_refused);
  }
  for (const char* activation : {"leaky_re_lu", "elu", "p_re_lu"}) {
    EXPECT_EQ(refusal({{activation, {}}, {"dense", {9, 9}}}), "");
    EXPECT_THAT(refusal({{activation, {}}}), HasSubstr("may be between them"));
    EXPECT_THAT(refusal({{activation, {}}, {std::string(activation) + "_1", {}}, {"dense", {9, 9}}}),
                HasSubstr("may be between them"));
  }
}

}  // namespace
}  // namespace filterscope
