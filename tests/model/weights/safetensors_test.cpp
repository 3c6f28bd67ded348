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
  EXPECT_THAT(load(), AllOf(HasSubstr("layer block1_conv2: tensor features.2.weight"),
                            HasSubstr("BF16 or F64 [5, 4, 3, 3]"), HasSubstr("found F32 [4, 5, 3, 3]"),
                            HasSubstr("not torchvision's tiny")));
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

TEST_F(SafetensorsFault, NamesInsideAModuleAreFine) {
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

TEST_F(SafetensorsFault, ModulesThatChangeNothing) {
  // As torch.nn.DataParallel, torch.compile and FSDP name them; and the list of modules by itself.
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

TEST_F(SafetensorsFault, ListsOfModules) {
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
TEST_F(SafetensorsFault, LayersOfMlx) {
  nlohmann::json renamed;
  for (const auto& [name, entry] : header_.items()) {
    constexpr std::string_view kList = "features.";
    renamed[name.starts_with(kList) ? "model.features.layers." + name.substr(kList.size()) : name] = entry;
  }
  const Weights weights = load_weights(write(folder_, "w.safetensors", safetensors(renamed, data_)), tiny());
  for (int layer = 0; layer < 3; ++layer) expect_layer(weights, layer);
}

TEST_F(SafetensorsFault, DeepHeader) {
  for (const char* at : {R"("format":)", R"("x":)"}) {
    const std::string text = fmt::format(R"({{"__metadata__":{{{}{}{}}}}})", at, std::string(300000, '['),
                                         std::string(300000, ']'));
    std::string length(8, '\0');
    const std::uint64_t size = text.size();
    std::memcpy(length.data(), &size, 8);
    EXPECT_THAT(load_raw(length + text), HasSubstr("expected a header nested at most 4 deep"));
  }
  header_["__metadata__"] = {{"format", {1, 2}}};
  EXPECT_THAT(load(), AllOf(HasSubstr("__metadata__: expected a format"), HasSubstr("found array;")));
}

TEST_F(SafetensorsFault, NamesAreShownPrintableAndShort) {
  for (const auto& name :
       {"features.1.\x1b[31m" + std::string(100000, 'x'), "\x1b" + std::string(100000, 'x')}) {
    for (const char* shape : {"shape", "dtype"}) {
      nlohmann::json header = header_;
      header[name] = header["features.2.weight"];
      header.erase("features.2.weight");
      header[name][shape] = 3;
      const std::string message = load_raw(safetensors(header, data_));
      EXPECT_LT(message.size(), 1000u);
      EXPECT_EQ(message.find('\x1b'), std::string::npos);
    }
  }
  const std::string wrapped = std::string(100000, 'x') + "\x1b.features.2.weight";
  nlohmann::json header{{wrapped, header_["features.2.weight"]}};
  header[wrapped]["dtype"] = "\x1b";
  header[wrapped]["data_offsets"] = {0, data_.size()};
  const std::string message = load_raw(safetensors(header, data_));
  EXPECT_LT(message.size(), 1000u);
  EXPECT_EQ(message.find('\x1b'), std::string::npos);
}

TEST_F(SafetensorsFault, WhatTheNetworkLacks) {
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
class SafetensorsOrder : public SafetensorsFault {
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
  EXPECT_THAT(load(), HasSubstr("the order of MLX, but the file does not tell its format"));
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

TEST_F(SafetensorsFault, Doubles) {
  const std::string floats = data_;
  data_.clear();
  for (std::size_t at = 0; at < floats.size(); at += 4) {
    float value = 0;
    std::memcpy(&value, floats.data() + at, 4);
    const double wide = value;
    data_.append(reinterpret_cast<const char*>(&wide), 8);
  }
  for (auto& [name, entry] : header_.items()) {
    if (name == "__metadata__") continue;
    entry["dtype"] = "F64";
    for (auto& offset : entry["data_offsets"]) offset = 2 * offset.get<std::size_t>();
  }
  const Weights weights = load_weights(write(folder_, "w.safetensors", safetensors(header_, data_)), tiny());
  for (int layer = 0; layer < 3; ++layer) expect_layer(weights, layer);
}

TEST_F(SafetensorsFault, QuantisedTypes) {
  for (const char* type : {"I8", "U8", "F8_E4M3", "F8_E5M2"}) {
    header_["features.5.bias"]["dtype"] = type;
    EXPECT_THAT(load(),
                AllOf(HasSubstr(fmt::format("found {} [2]", type)), HasSubstr("multiplied by their scales")));
  }
}

// torchvision's IMAGENET1K_FEATURES has no classifier, and other images.
TEST_F(SafetensorsFault, ClassifierWithoutValues) {
  const float nan = std::nanf("");
  const auto begin = header_["classifier.0.weight"]["data_offsets"][0].get<std::size_t>();
  for (std::size_t i = 0; i < 6; ++i) std::memcpy(data_.data() + begin + 4 * i, &nan, 4);
  const Weights weights = load_weights(write(folder_, "w.safetensors", safetensors(header_, data_)), tiny());
  for (int layer = 0; layer < 3; ++layer) expect_layer(weights, layer);
  EXPECT_EQ(weights.natural_input, torchvision_features_mapping());
  EXPECT_THAT(weights.notes, ElementsAre(HasSubstr("IMAGENET1K_FEATURES")));
}

TEST_F(SafetensorsFault, ClassifierWithoutValuesOfAnyType) {
  for (const auto& [dtype, nan] : {std::pair("F16", "\x00\x7e"), {"BF16", "\xc0\x7f"}}) {
    nlohmann::json header = header_;
    const std::size_t end = data_.size();
    header["vgg.classifier.0.weight"] = {{"dtype", dtype}, {"shape", {1}}, {"data_offsets", {end, end + 2}}};
    const Weights weights = load_weights(
        write(folder_, "w.safetensors", safetensors(header, data_ + std::string(nan, 2))), tiny());
    EXPECT_EQ(weights.natural_input, torchvision_features_mapping()) << dtype;
  }
}

TEST_F(SafetensorsFault, NamesTwice) {
  std::string bytes = safetensors(header_, data_);
  const std::size_t at = bytes.find("features.2.bias");
  bytes.replace(at, 15, "features.0.bias");
  EXPECT_THAT(load_raw(bytes), HasSubstr("the header names features.0.bias twice"));
  bytes = safetensors(header_, data_);
  bytes.replace(bytes.find("\"shape\""), 7, "\"dtype\"");
  EXPECT_THAT(load_raw(bytes), HasSubstr("the header names dtype twice"));
}

// The header's length may look like the start of a web page, an archive or a pickle.
TEST_F(SafetensorsFault, AnyLengthOfTheHeader) {
  std::string text = header_.dump();
  text.resize((text.size() + 255) / 256 * 256, ' ');
  for (int length = 0; length < 256; ++length, text += ' ') {
    std::string bytes;
    for (int shift = 0; shift < 64; shift += 8) bytes += static_cast<char>(text.size() >> shift & 0xFF);
    ASSERT_NO_THROW(load_weights(write(folder_, "w.safetensors", bytes + text + data_), tiny())) << length;
  }
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
  EXPECT_THAT(load_raw(nested), HasSubstr("nested at most 4 deep"));
}

TEST_F(SafetensorsFault, NanInF32) {
  const auto begin = header_["features.2.bias"]["data_offsets"][0].get<std::size_t>();
  const float nan = std::nanf("");
  std::memcpy(data_.data() + begin + 8, &nan, 4);
  EXPECT_THAT(load(), AllOf(HasSubstr("layer block1_conv2"), HasSubstr("features.2.bias holds nan at [2]")));
}

}  // namespace
}  // namespace filterscope
