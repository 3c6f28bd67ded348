#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "fixtures.h"
#include "host/ascent/recipe.h"
#include "host/model/weights/formats.h"
#include "host/model/weights/weights.h"
#include "safetensors_fixture.h"

namespace filterscope {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;

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

class SafetensorsLayers : public ChangedSafetensors {};

TEST_F(SafetensorsLayers, Shape) {
  header_["features.2.weight"]["shape"] = {4, 5, 3, 3};
  EXPECT_THAT(load(), AllOf(HasSubstr("layer block1_conv2: tensor features.2.weight"),
                            HasSubstr("BF16 or F64 [5, 4, 3, 3]"), HasSubstr("found F32 [4, 5, 3, 3]"),
                            HasSubstr("not torchvision's tiny")));
}

TEST_F(SafetensorsLayers, Type) {
  header_["features.5.bias"]["dtype"] = "I32";
  EXPECT_THAT(load(),
              AllOf(HasSubstr("layer block2_conv1: tensor features.5.bias"), HasSubstr("found I32 [2]")));
}

TEST_F(SafetensorsLayers, HalfALayer) {
  header_["renamed"] = header_["features.2.bias"];
  header_.erase("features.2.bias");
  EXPECT_THAT(load(), AllOf(HasSubstr("layer block1_conv2"), HasSubstr("found only features.2.weight")));
}

TEST_F(SafetensorsLayers, SomeLayers) {
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

TEST_F(SafetensorsLayers, NamesInsideAModule) {
  nlohmann::json wrapped;
  for (const auto& [name, entry] : header_.items())
    if (name != "__metadata__") wrapped["model.module." + name] = entry;
  const Weights weights = load_weights(write(folder_, "w.safetensors", safetensors(wrapped, data_)), tiny());
  for (int layer = 0; layer < 3; ++layer) expect_layer(weights, layer);

  wrapped["teacher.features.2.weight"] = wrapped["model.module.features.2.weight"];
  wrapped.erase("model.module.features.2.weight");
  EXPECT_THAT(load_raw(safetensors(wrapped, data_)),
              HasSubstr("weights of one network, found model.features and teacher.features"));
  // Torchvision's own names go first.
  header_["teacher.features.2.weight"] = header_["features.2.weight"];
  header_.erase("features.2.weight");
  EXPECT_THAT(load(), HasSubstr("layer block1_conv2"));
}

TEST_F(SafetensorsLayers, TransparentModules) {
  // Names of torch.nn.DataParallel, torch.compile and FSDP, and of the list of modules alone.
  for (const char* list : {"features.module.", "module.features.", "_orig_mod.features._orig_mod.",
                           "model._fsdp_wrapped_module.features.", "backbone.vgg.features.", ""}) {
    nlohmann::json renamed;
    for (const auto& [name, entry] : header_.items()) {
      constexpr std::string_view kList = "features.";
      renamed[name.starts_with(kList) ? list + name.substr(kList.size()) : name] = entry;
    }
    const Weights weights =
        load_weights(write(folder_, "w.safetensors", safetensors(renamed, data_)), tiny());
    for (int layer = 0; layer < 3; ++layer) expect_layer(weights, layer);
    EXPECT_THAT(weights.conversions, testing::IsEmpty());
    EXPECT_THAT(weights.notes, testing::IsEmpty());
  }
  header_["module.features.2.bias"] = header_["features.0.bias"];
  header_.erase("features.0.bias");
  EXPECT_THAT(load(),
              HasSubstr("layer block1_conv2: features.2.bias and module.features.2.bias are both its bias"));
}

TEST_F(SafetensorsLayers, ListsOfModules) {
  const auto load = [&](const std::string& list,
                        const std::vector<std::pair<std::string, nlohmann::json>>& more) {
    nlohmann::json renamed;
    for (const auto& [name, entry] : header_.items()) {
      constexpr std::string_view kList = "features.";
      renamed[name.starts_with(kList) ? list + name.substr(kList.size()) : name] = entry;
    }
    for (const auto& [name, shape] : more)
      renamed[name] = {{"dtype", "F32"}, {"shape", shape}, {"data_offsets", {data_.size(), data_.size()}}};
    return load_weights(write(folder_, "w.safetensors", safetensors(renamed, data_)), tiny());
  };
  const auto expect_tiny = [](const Weights& weights) {
    for (int layer = 0; layer < 3; ++layer) expect_layer(weights, layer);
  };
  // A classifier in the same list.
  expect_tiny(load("", {{"9.weight", {0, 4}}, {"9.bias", {0}}, {"10.running_mean", {0}}}));
  expect_tiny(load("", {{"6.weight", {0, 4}}, {"6.bias", {0}}}));
  EXPECT_THAT(error_of([&] { load("", {{"3.bias", {0}}}); }), HasSubstr("holds 3.bias"));
  // In another list, whose next module is the classifier.
  expect_tiny(load("0.", {{"3.0.weight", {0, 4}}, {"3.0.bias", {0}}}));
  expect_tiny(load("1.0.", {{"1.3.0.weight", {0, 4, 1, 1}}}));
  expect_tiny(load("", {{"9.0.weight", {0, 4, 1, 1}}}));
  for (const char* part : {"weight", "bias"}) {
    header_[fmt::format("other.{}", part)] = header_[fmt::format("features.5.{}", part)];
    header_.erase(fmt::format("features.5.{}", part));
  }
  EXPECT_THAT(error_of([&] { load("0.", {}); }), HasSubstr("module 0 holds 2 of the 3 convolutions of tiny"));
  EXPECT_FALSE(load("", {}).holds(2));
}

// MLX's Sequential has its modules in `layers`.
TEST_F(SafetensorsLayers, LayersOfMlx) {
  nlohmann::json renamed;
  for (const auto& [name, entry] : header_.items()) {
    constexpr std::string_view kList = "features.";
    renamed[name.starts_with(kList) ? "model.features.layers." + name.substr(kList.size()) : name] = entry;
  }
  const Weights weights = load_weights(write(folder_, "w.safetensors", safetensors(renamed, data_)), tiny());
  for (int layer = 0; layer < 3; ++layer) expect_layer(weights, layer);
}

TEST_F(SafetensorsLayers, WhatTheNetworkLacks) {
  const nlohmann::json good = header_;
  for (const auto& [name, says] : std::vector<std::pair<std::string, std::string>>{
           {"features.1.running_mean", "vgg16_bn"},
           {"features.1.weight", "vgg16_bn"},
           {"features.0.weight_mask", "torch.nn.utils.prune.remove"},
           {"features.0.weight_g", "remove_weight_norm"},
           {"features.0.parametrizations.weight.original0", "remove_parametrizations"},
           {"features.0.lora_A.default.weight", "LoRA"},
           {"features.0.weight_scale", "quantised"},
           {"features.4.scale", "quantised"},
           {"module.features.0.gamma", "another network's weights"}}) {
    header_ = good;
    header_[name] = {{"dtype", "F32"}, {"shape", {0}}, {"data_offsets", {data_.size(), data_.size()}}};
    EXPECT_THAT(load(),
                AllOf(HasSubstr(fmt::format("holds {}, which torchvision's tiny does not have", name)),
                      HasSubstr(says)));
  }
  header_ = good;
  header_["features.0.weight_orig"] = header_["features.0.weight"];
  header_.erase("features.0.weight");
  EXPECT_THAT(load(), HasSubstr("holds features.0.weight_orig"));
}

/// The kernels of the good file with their dimensions in another order; 0: out, 1: in, 2: rows, 3: columns.
class SafetensorsOrder : public SafetensorsLayers {
 protected:
  void reorder(const std::array<std::size_t, 4>& order) {
    for (auto& [name, entry] : header_.items()) {
      if (name == "__metadata__" || entry["shape"].size() != 4) continue;
      const auto shape = entry["shape"].get<std::vector<std::size_t>>();
      const auto begin = entry["data_offsets"][0].get<std::size_t>();
      const std::string old = data_.substr(begin, 4 * shape[0] * shape[1] * 9);
      std::size_t next = begin;
      std::array<std::size_t, 4> at{};
      const std::array<std::size_t, 4> sides{shape[order[0]], shape[order[1]], shape[order[2]],
                                             shape[order[3]]};
      for (std::size_t i = 0; i < old.size() / 4; ++i, next += 4) {
        std::size_t rest = i;
        for (std::size_t dimension = 4; dimension-- > 0; rest /= sides[dimension])
          at[order[dimension]] = rest % sides[dimension];
        const std::size_t from = ((at[0] * shape[1] + at[1]) * 3 + at[2]) * 3 + at[3];
        data_.replace(next, 4, old, 4 * from, 4);
      }
      entry["shape"] = sides;
    }
  }
};

TEST_F(SafetensorsOrder, IsThatOfTheFormat) {
  header_["__metadata__"]["format"] = "mlx";
  EXPECT_THAT(load(), HasSubstr("the order of Theano and PyTorch, but the file's format is mlx"));
  reorder({0, 2, 3, 1});
  const Weights mlx = load_weights(write(folder_, "w.safetensors", safetensors(header_, data_)), tiny());
  for (int layer = 0; layer < 3; ++layer) expect_layer(mlx, layer);
  EXPECT_THAT(mlx.conversions, ElementsAre("kernels transposed from the order of the file's format, mlx"));
  header_.erase("__metadata__");
  EXPECT_THAT(load(), HasSubstr("the order of MLX, but the file does not say its format"));
}

TEST_F(SafetensorsOrder, OfTensorFlow) {
  reorder({2, 3, 1, 0});
  EXPECT_THAT(load(), HasSubstr("the order of TensorFlow, but the file's format is pt"));
  for (const char* format : {"tf", "flax"}) {
    header_["__metadata__"]["format"] = format;
    const Weights weights =
        load_weights(write(folder_, "w.safetensors", safetensors(header_, data_)), tiny());
    for (int layer = 0; layer < 3; ++layer) expect_layer(weights, layer);
    EXPECT_EQ(weights.conversions.size(), 1u);
  }
  header_["__metadata__"]["format"] = "paddle";
  EXPECT_THAT(load(), AllOf(HasSubstr("__metadata__"), HasSubstr("found paddle;")));
}

TEST_F(SafetensorsLayers, QuantisedTypes) {
  for (const char* type : {"I8", "U8", "F8_E4M3", "F8_E5M2"}) {
    header_["features.5.bias"]["dtype"] = type;
    EXPECT_THAT(load(),
                AllOf(HasSubstr(fmt::format("found {} [2]", type)), HasSubstr("multiplied by their scales")));
  }
}

// torchvision's IMAGENET1K_FEATURES has no classifier, and other images.
TEST_F(SafetensorsLayers, ClassifierWithoutValues) {
  const float nan = std::nanf("");
  const auto begin = header_["classifier.0.weight"]["data_offsets"][0].get<std::size_t>();
  for (std::size_t i = 0; i < 6; ++i) std::memcpy(data_.data() + begin + 4 * i, &nan, 4);
  const Weights weights = load_weights(write(folder_, "w.safetensors", safetensors(header_, data_)), tiny());
  for (int layer = 0; layer < 3; ++layer) expect_layer(weights, layer);
  EXPECT_EQ(weights.natural_input, torchvision_features_mapping());
  EXPECT_THAT(weights.notes, ElementsAre(HasSubstr("IMAGENET1K_FEATURES")));
}

TEST_F(SafetensorsLayers, ClassifierWithoutValuesOfAnyType) {
  for (const auto& [dtype, nan] : {std::pair("F16", "\x00\x7e"), {"BF16", "\xc0\x7f"}}) {
    nlohmann::json header = header_;
    const std::size_t end = data_.size();
    header["vgg.classifier.0.weight"] = {{"dtype", dtype}, {"shape", {1}}, {"data_offsets", {end, end + 2}}};
    const Weights weights = load_weights(
        write(folder_, "w.safetensors", safetensors(header, data_ + std::string(nan, 2))), tiny());
    EXPECT_EQ(weights.natural_input, torchvision_features_mapping()) << dtype;
  }
}

TEST_F(SafetensorsLayers, OtherNetwork) {
  EXPECT_THAT(load_raw(safetensors(
                  {{"conv1.weight", {{"dtype", "F32"}, {"shape", {1}}, {"data_offsets", {0, 4}}}}}, "1234")),
              AllOf(HasSubstr("no layer of torchvision's tiny"), HasSubstr("features.0.weight"),
                    HasSubstr("found conv1.weight")));
  EXPECT_THAT(load_raw(safetensors(nlohmann::json::object(), "")), HasSubstr("found none"));
}

}  // namespace
}  // namespace filterscope
