#include "host/model/weights/keras/model_config.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "../fixtures.h"
#include "hdf5_writer.h"

// Descriptions of models by Keras 1, 2 and 3, and differences that make them other networks.

namespace filterscope {
namespace {

using nlohmann::json;
using testing::ElementsAre;
using testing::HasSubstr;
using weights_formats::KerasModel;

json layer(const std::string& class_name, const std::string& name, json config = json::object()) {
  config["name"] = name;
  return {{"class_name", class_name}, {"name", name}, {"config", config}};
}

json convolution(const std::string& name, const json& changes = json::object()) {
  json config{{"filters", 4},
              {"kernel_size", {3, 3}},
              {"strides", {1, 1}},
              {"padding", "same"},
              {"groups", 1},
              {"activation", "relu"},
              {"use_bias", true},
              {"data_format", "channels_first"},
              {"dilation_rate", {1, 1}}};
  config.update(changes);
  return layer("Conv2D", name, config);
}

json pool(const json& changes = json::object()) {
  json config{{"pool_size", {2, 2}}, {"strides", {2, 2}}, {"padding", "valid"}};
  config.update(changes);
  return layer("MaxPooling2D", "block1_pool", config);
}

/// The network of fixtures.h.
std::vector<json> plain() {
  return {layer("InputLayer", "input_1"), convolution("block1_conv1"), convolution("block1_conv2"), pool(),
          convolution("block2_conv1"),    layer("Dense", "fc1")};
}

json sequential(const std::vector<json>& layers) {
  return {{"class_name", "Sequential"}, {"config", {{"name", "sequential"}, {"layers", layers}}}};
}

/// Connects each layer to the one before it. `history`: in Keras 3's form.
json functional(std::vector<json> layers, bool history = false) {
  for (std::size_t i = 0; i < layers.size(); ++i) {
    layers[i]["inbound_nodes"] = json::array();
    if (i == 0) continue;
    const json source = json::array({layers[i - 1]["name"], 0, 0});
    if (history) {
      layers[i]["inbound_nodes"].push_back(
          {{"args",
            {{{"class_name", "__keras_tensor__"},
              {"config", {{"shape", {nullptr, 8, 8, 3}}, {"keras_history", source}}}}}},
           {"kwargs", json::object()}});
    } else {
      json call = source;
      call.push_back(json::object());
      layers[i]["inbound_nodes"].push_back(json::array({call}));
    }
  }
  return {{"class_name", "Functional"}, {"config", {{"name", "vgg16"}, {"layers", layers}}}};
}

KerasModel examined(const json& model) {
  return weights_formats::examine_keras_model(model.dump(), tiny());
}

/// The difference that is found after one layer was changed, which must be the same in all three forms.
std::string difference(const std::function<void(std::vector<json>&)>& change) {
  std::vector<json> layers = plain();
  change(layers);
  const std::string of_list = examined(sequential(layers)).difference;
  EXPECT_EQ(examined(functional(layers)).difference, of_list);
  EXPECT_EQ(examined(functional(layers, true)).difference, of_list);
  return of_list;
}

TEST(KerasModel, PlainNetwork) {
  EXPECT_EQ(difference([](auto&) {}), "");
  EXPECT_TRUE(examined(functional(plain())).described);
  EXPECT_TRUE(examined(functional(plain())).before.empty());
  // Keras 1's Sequential model is a list.
  EXPECT_EQ(examined({{"class_name", "Sequential"}, {"config", plain()}}).difference, "");
}

TEST(KerasModel, WordsOfKeras1) {
  const auto convolution1 = [](const std::string& name, const json& changes = json::object()) {
    json config{{"nb_filter", 4},        {"nb_row", 3},          {"nb_col", 3},  {"subsample", {1, 1}},
                {"border_mode", "same"}, {"activation", "relu"}, {"bias", true}, {"dim_ordering", "tf"}};
    config.update(changes);
    return layer("Convolution2D", name, config);
  };
  EXPECT_EQ(difference([&](auto& layers) { layers[1] = convolution1("block1_conv1"); }), "");
  EXPECT_THAT(difference([&](auto& layers) {
                layers[1] = convolution1("block1_conv1", {{"border_mode", "valid"}});
              }),
              HasSubstr("found valid"));
  EXPECT_THAT(difference([&](auto& layers) {
                layers[2] = convolution1("block1_conv2", {{"subsample", {2, 2}}});
              }),
              HasSubstr("block1_conv2: expected strides of 1, found [2,2]"));
}

TEST(KerasModel, OtherSettings) {
  const auto with = [](const json& changes) {
    return difference([&](auto& layers) { layers[2] = convolution("block1_conv2", changes); });
  };
  EXPECT_THAT(with({{"strides", {2, 2}}}), HasSubstr("block1_conv2: expected strides of 1, found [2,2]"));
  EXPECT_THAT(with({{"dilation_rate", {2, 2}}}), HasSubstr("expected dilation_rate 1, found [2,2]"));
  EXPECT_THAT(with({{"groups", 2}}), HasSubstr("expected groups 1, found 2"));
  EXPECT_THAT(with({{"kernel_size", {5, 5}}}), HasSubstr("expected kernel_size 3, found [5,5]"));
  EXPECT_THAT(with({{"padding", "valid"}}), HasSubstr("block1_conv2: expected the padding same"));
  EXPECT_THAT(with({{"activation", "elu"}}),
              HasSubstr("block1_conv2: expected the activation relu, found elu"));
  EXPECT_THAT(with({{"activation", {{"class_name", "LeakyReLU"}, {"config", json::object()}}}}),
              HasSubstr("found LeakyReLU"));
  EXPECT_THAT(with({{"activation", {{"class_name", "ReLU"}, {"config", {{"max_value", 6.}}}}}}),
              HasSubstr("found ReLU"));
  EXPECT_EQ(with({{"activation", {{"class_name", "function"}, {"config", "relu"}}}}), "");
  EXPECT_EQ(with({{"activation", {{"class_name", "ReLU"}, {"config", {{"max_value", nullptr}}}}}}), "");
}

TEST(KerasModel, OtherLayers) {
  EXPECT_THAT(difference([](auto& layers) { layers[2]["class_name"] = "DepthwiseConv2D"; }),
              HasSubstr("block1_conv2: expected a Conv2D, found a DepthwiseConv2D"));
  EXPECT_THAT(difference([](auto& layers) { layers[3]["class_name"] = "AveragePooling2D"; }),
              HasSubstr("block1_pool (AveragePooling2D) precedes block2_conv1"));
  EXPECT_THAT(difference([](auto& layers) {
                layers[3] = pool({{"pool_size", {3, 3}}});
              }),
              HasSubstr("block1_pool (MaxPooling2D): expected a pool of 2 x 2"));
  EXPECT_THAT(difference([](auto& layers) { layers[3] = pool({{"padding", "same"}}); }), HasSubstr("2 x 2"));
  EXPECT_THAT(difference([](auto& layers) { layers.erase(layers.begin() + 3); }),
              HasSubstr("block2_conv1: expected a MaxPooling2D before it, found 0"));
  EXPECT_THAT(difference([](auto& layers) { layers.insert(layers.begin() + 2, pool()); }),
              HasSubstr("block1_conv2: expected no MaxPooling2D before it, found 1"));
  EXPECT_THAT(
      difference([](auto& layers) { layers.insert(layers.begin() + 2, layer("BatchNormalization", "bn1")); }),
      HasSubstr("bn1 (BatchNormalization) precedes block1_conv2"));
  EXPECT_THAT(difference([](auto& layers) { layers.erase(layers.begin() + 2); }),
              HasSubstr("block2_conv1 follows block1_conv1"));
  EXPECT_THAT(difference([](auto& layers) {
                layers[2] = layer("QuantizeWrapper", "quant", {{"layer", convolution("block1_conv2")}});
              }),
              HasSubstr("block1_conv2 is wrapped in quant (QuantizeWrapper)"));
  EXPECT_EQ(difference([](auto& layers) { layers.insert(layers.begin() + 2, layer("Dropout", "dropout")); }),
            "");
  // Any layer may follow the convolutions.
  EXPECT_EQ(difference([](auto& layers) { layers.push_back(layer("BatchNormalization", "bn1")); }), "");
}

TEST(KerasModel, ActivationsAndPaddingsInSeparateLayers) {
  const auto split = [](const json& relu) {
    return [relu](auto& layers) {
      layers[2] = convolution("block1_conv2", {{"activation", "linear"}});
      layers.insert(layers.begin() + 3, relu);
    };
  };
  EXPECT_EQ(difference(split(layer("Activation", "a", {{"activation", "relu"}}))), "");
  EXPECT_EQ(difference(split(layer("ReLU", "a", {{"max_value", nullptr}, {"negative_slope", 0.}}))), "");
  EXPECT_THAT(difference(split(layer("ReLU", "a", {{"max_value", 6.}}))),
              HasSubstr("block1_conv2: expected a ReLU after it, found a (ReLU)"));
  EXPECT_THAT(difference(split(layer("LeakyReLU", "a"))), HasSubstr("found a (LeakyReLU)"));
  EXPECT_THAT(difference([](auto& layers) {
                layers.pop_back();
                layers[4] = convolution("block2_conv1", {{"activation", nullptr}});
              }),
              HasSubstr("block2_conv1: expected the activation relu, found none"));

  const auto padded = [](std::size_t at, const json& amount) {
    return [at, amount](auto& layers) {
      layers[at]["config"]["padding"] = "valid";
      layers.insert(layers.begin() + static_cast<std::ptrdiff_t>(at),
                    layer("ZeroPadding2D", "padding", {{"padding", amount}}));
    };
  };
  EXPECT_EQ(difference(padded(1, {1, 1})), "");
  EXPECT_EQ(difference(padded(4, {{1, 1}, {1, 1}})), "");
  EXPECT_THAT(difference(padded(2, {2, 2})), HasSubstr("expected a padding of 1"));
  EXPECT_THAT(difference([&](auto& layers) {
                padded(2, {1, 1})(layers);
                layers[3]["config"]["padding"] = "same";
              }),
              HasSubstr("found same after a ZeroPadding2D"));
}

TEST(KerasModel, SeveralInputs) {
  json model = functional(plain());
  json& nodes = model["config"]["layers"][2]["inbound_nodes"];
  nodes[0].push_back({"input_1", 0, 0, json::object()});
  EXPECT_THAT(examined(model).difference,
              HasSubstr("block1_conv2 (Conv2D): expected one input, found several"));
}

TEST(KerasModel, WhatImagesPassThrough) {
  const auto before = [](const std::vector<json>& first, bool history) {
    std::vector<json> outer{layer("InputLayer", "input_2")};
    outer.insert(outer.end(), first.begin(), first.end());
    json inner = functional(plain(), history);
    inner["name"] = "vgg16";
    outer.push_back(inner);
    const KerasModel model = examined(functional(outer, history));
    EXPECT_EQ(model.difference, "");
    return model.before;
  };
  json augmentation = sequential({layer("RandomFlip", "flip"), layer("RandomZoom", "zoom")});
  augmentation["name"] = "augmentation";
  for (const bool history : {false, true}) {
    EXPECT_THAT(before({layer("Resizing", "resizing"), augmentation}, history), testing::IsEmpty());
    EXPECT_THAT(before({layer("Rescaling", "rescaling", {{"scale", 1 / 255.}})}, history),
                ElementsAre("rescaling (Rescaling)"));
    EXPECT_THAT(before({layer("Normalization", "normalization"), layer("Lambda", "swap")}, history),
                ElementsAre("swap (Lambda)", "normalization (Normalization)"));
  }
  std::vector<json> flat = plain();
  flat.insert(flat.begin() + 1, layer("TFOpLambda", "tf.nn.bias_add"));
  EXPECT_THAT(examined(functional(flat)).before, ElementsAre("tf.nn.bias_add (TFOpLambda)"));
}

TEST(KerasModel, OtherDescriptions) {
  EXPECT_EQ(weights_formats::examine_keras_model("{}", tiny()).difference, "");
  EXPECT_EQ(weights_formats::examine_keras_model(R"({"class_name": "Mine", "config": 3})", tiny()).difference,
            "");
  EXPECT_EQ(weights_formats::examine_keras_model("{", tiny()).damage, "is not JSON");
  EXPECT_THAT(weights_formats::examine_keras_model(std::string(300000, '['), tiny()).damage,
              HasSubstr("deep"));
  // Keras writes none of these, and none may crash the program.
  for (const char* odd :
       {R"({"config": {"layers": [3, {"config": 3}, {"config": {"name": "block1_conv1"}}]}})",
        R"({"config": [{"class_name": 3, "config": {"layer": {"config": []}}}]})",
        R"({"config": {"layers": {"a": 1}}})"}) {
    weights_formats::examine_keras_model(odd, tiny());
  }
  json deep = sequential(plain());
  for (int depth = 0; depth < 100; ++depth) deep = sequential({deep});
  examined(deep);
}

// Python writes NaN and infinities.
TEST(KerasModel, NumbersThatJsonLacks) {
  std::string text = functional(plain()).dump();
  const auto found = [&](const std::string& number) {
    std::string changed = text;
    changed.insert(1, "\"x\": [" + number + "], ");
    return weights_formats::examine_keras_model(changed, tiny());
  };
  for (const char* number : {"NaN", "Infinity, -Infinity", R"("a \" NaN", NaN)", R"("\\", NaN)"}) {
    EXPECT_EQ(found(number).damage, "") << number;
    EXPECT_TRUE(found(number).described) << number;
  }
  EXPECT_EQ(found("Nan").damage, "is not JSON");
  std::vector<json> layers = plain();
  layers[1]["name"] = layers[1]["config"]["name"] = "NaN";
  EXPECT_THAT(difference([&](auto& changed) { changed = layers; }), HasSubstr("layer NaN (Conv2D) precedes"));
}

TEST(KerasModel, LayersThatCannotBeRead) {
  json model = functional(plain());
  json& layers = model["config"]["layers"];
  layers.insert(layers.begin(), json{{"class_name", "Mine"}});
  EXPECT_EQ(examined(model).difference, "");
  for (const json& nodes : {json::array(), json{{"args", {"block1_conv1"}}}}) {
    layers[3]["inbound_nodes"] = nodes;
    EXPECT_THAT(examined(model).difference, HasSubstr("block1_conv2 follows no convolution of the model"));
  }
}

TEST(KerasModel, ConvolutionsWithOtherNames) {
  std::vector<json> layers = plain();
  for (const int at : {1, 2, 4}) layers[at]["name"] = layers[at]["config"]["name"] = fmt::format("c{}", at);
  json outer = sequential({layer("RandomFlip", "flip"), functional(layers)});
  EXPECT_TRUE(examined(outer).described);
  EXPECT_EQ(examined(outer).difference, "");
  layers[2]["config"]["activation"] = "elu";
  EXPECT_THAT(examined(functional(layers)).difference,
              HasSubstr("block1_conv2: expected the activation relu"));
  layers.erase(layers.begin() + 4);
  EXPECT_FALSE(examined(functional(layers)).described);
}

TEST(KerasModel, InAFile) {
  const TemporaryFolder folder;
  const auto load = [&](const json& model) {
    Hdf5Writer file(folder / "model.h5");
    KerasNetwork{.parent = "/model_weights"}.write(file);
    file.text("/", "model_config", model.dump());
    return load_weights(file.close(), tiny());
  };
  for (int i = 0; i < 3; ++i) expect_layer(load(functional(plain())), i);
  std::vector<json> layers = plain();
  layers[2]["config"]["activation"] = "tanh";
  EXPECT_THAT(
      error_of([&] { load(functional(layers)); }),
      testing::AllOf(HasSubstr("model.h5: layer block1_conv2: expected the activation relu, found tanh"),
                     HasSubstr("another network than tiny")));
  layers = plain();
  layers.insert(layers.begin() + 1, layer("Rescaling", "rescaling"));
  const Weights weights = load(functional(layers));
  EXPECT_EQ(weights.natural_input, std::nullopt);
  EXPECT_THAT(weights.notes,
              ElementsAre("without the layers that its images pass through before block1_conv1: rescaling "
                          "(Rescaling)"));
}

// Unpacked .keras archives have it next to the weights.
TEST(KerasModel, NextToAFile) {
  const TemporaryFolder folder;
  const auto load = [&](const std::string& name) {
    Hdf5Writer file(folder / name);
    KerasNetwork{}.write(file);
    return load_weights(file.close(), tiny());
  };
  std::vector<json> layers = plain();
  layers[2]["config"]["dilation_rate"] = {2, 2};
  write(folder, "config.json", functional(layers, true).dump());
  EXPECT_THAT(error_of([&] { load("model.weights.h5"); }),
              testing::AllOf(HasSubstr("expected dilation_rate 1, found [2,2]"),
                             HasSubstr("of the config.json next to")));
  expect_layer(load("other.weights.h5"), 1);
  write(folder, "config.json", functional(plain(), true).dump());
  expect_layer(load("model.weights.h5"), 1);
  write(folder, "config.json", "[");
  EXPECT_THAT(error_of([&] { load("model.weights.h5"); }),
              HasSubstr("the config.json next to this file is not JSON; it is damaged"));
}

// If the description says that the convolutions are another model's, their number does not matter.
TEST(KerasModel, NextToAFileWithoutNames) {
  const TemporaryFolder folder;
  const auto load = [&] {
    Hdf5Writer file(folder / "model.weights.h5");
    const KerasNetwork network;
    for (int i = 0; i < 3; ++i) {
      const Convolution& convolution = tiny().convolutions[i];
      const std::string group = i == 0 ? "/layers/conv2d/vars" : fmt::format("/layers/conv2d_{}/vars", i);
      file.floats(group + "/0", network.shape(convolution), network.kernel(i));
      file.floats(group + "/1", {static_cast<hsize_t>(convolution.out_channels)},
                  made_values(i, 70, static_cast<std::size_t>(convolution.out_channels)));
    }
    return load_weights(file.close(), tiny());
  };
  std::vector<json> layers = plain();
  for (const int at : {1, 2, 4}) layers[at]["name"] = layers[at]["config"]["name"] = fmt::format("c{}", at);
  write(folder, "config.json", functional(layers).dump());
  for (int i = 0; i < 3; ++i) expect_layer(load(), i);
  layers[1]["config"]["activation"] = "elu";
  write(folder, "config.json", functional(layers).dump());
  EXPECT_THAT(error_of(load), HasSubstr("expected the activation relu, found elu"));
  layers.erase(layers.begin() + 4);
  write(folder, "config.json", functional(layers).dump());
  EXPECT_THAT(error_of(load), HasSubstr("the model's description does not have its 3"));
}

TEST(KerasModel, DescribesFurtherConvolutions) {
  const TemporaryFolder folder;
  Hdf5Writer file(folder / "model.h5");
  KerasNetwork{.parent = "/model_weights"}.write(file, {{3, "block2_conv2"}});
  file.group("/model_weights/block2_conv2");
  std::vector<json> layers = plain();
  layers.push_back(convolution("block2_conv2"));
  file.text("/", "model_config", functional(layers).dump());
  const Weights weights = load_weights(file.close(), tiny());
  for (int i = 0; i < 3; ++i) expect_layer(weights, i);
}

}  // namespace
}  // namespace filterscope
