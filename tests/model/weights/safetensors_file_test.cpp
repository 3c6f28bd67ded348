#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "fixtures.h"
#include "host/model/weights/weights.h"
#include "safetensors_fixture.h"

namespace filterscope {
namespace {

using testing::AllOf;
using testing::HasSubstr;

class SafetensorsFile : public ChangedSafetensors {};

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

TEST(SafetensorsValues, EveryHalf) {
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

TEST(SafetensorsValues, BrainFloats) {
  // 1, -2, the largest, the smallest subnormal, -0
  const Weights weights = load_sixteen_bits("BF16", {0x3F80, 0xC000, 0x7F7F, 0x0001, 0x8000});
  const std::vector<float>& kernel = weights.layers[0]->kernel;
  EXPECT_EQ(kernel[0], 1.f);
  EXPECT_EQ(kernel[2], -2.f);
  EXPECT_EQ(kernel[4], 0x1.FEp127f);
  EXPECT_EQ(kernel[6], 0x1p-133f);
  EXPECT_TRUE(kernel[8] == 0.f && std::signbit(kernel[8]));
}

TEST(SafetensorsValues, NotFinite) {
  EXPECT_THAT(
      error_of([] {
        load_sixteen_bits("F16", {0, 0, 0, 0, 0x7C00});
      }),
      AllOf(HasSubstr("layer block1_conv1"), HasSubstr("features.0.weight holds inf at [0, 0, 1, 1]")));
  EXPECT_THAT(error_of([] { load_sixteen_bits("F16", {0, 0xFE01}); }), HasSubstr("nan at [0, 0, 0, 1]"));
  EXPECT_THAT(error_of([] { load_sixteen_bits("BF16", {0xFF80}); }), HasSubstr("-inf at [0, 0, 0, 0]"));
}

TEST_F(SafetensorsFile, TypeOfAnotherSize) {
  header_["features.5.bias"]["dtype"] = "F16";
  EXPECT_THAT(load(), AllOf(HasSubstr("layer block2_conv1: tensor features.5.bias"),
                            HasSubstr("expected 4 bytes"), HasSubstr("found data_offsets of 8")));
}

TEST_F(SafetensorsFile, AbsurdShape) {
  header_["features.2.weight"]["shape"] = {5, 4, 3, std::uint64_t{1} << 62};
  EXPECT_THAT(load(), HasSubstr("found F32 [5, 4, 3, 4611686018427387904]"));
}

TEST_F(SafetensorsFile, DeepHeader) {
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

TEST_F(SafetensorsFile, NamesAreShownPrintableAndShort) {
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

TEST_F(SafetensorsFile, Doubles) {
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

TEST_F(SafetensorsFile, NamesTwice) {
  std::string bytes = safetensors(header_, data_);
  const std::size_t at = bytes.find("features.2.bias");
  bytes.replace(at, 15, "features.0.bias");
  EXPECT_THAT(load_raw(bytes), HasSubstr("the header names features.0.bias twice"));
  bytes = safetensors(header_, data_);
  bytes.replace(bytes.find("\"shape\""), 7, "\"dtype\"");
  EXPECT_THAT(load_raw(bytes), HasSubstr("the header names dtype twice"));
}

// The header's length may look like the start of a web page, an archive or a pickle.
TEST_F(SafetensorsFile, AnyLengthOfTheHeader) {
  std::string text = header_.dump();
  text.resize((text.size() + 255) / 256 * 256, ' ');
  for (int length = 0; length < 256; ++length, text += ' ') {
    std::string bytes;
    for (int shift = 0; shift < 64; shift += 8) bytes += static_cast<char>(text.size() >> shift & 0xFF);
    ASSERT_NO_THROW(load_weights(write(folder_, "w.safetensors", bytes + text + data_), tiny())) << length;
  }
}

TEST_F(SafetensorsFile, Offsets) {
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

TEST_F(SafetensorsFile, Length) {
  const std::string bytes = safetensors(header_, data_);
  EXPECT_THAT(
      load_raw(bytes.substr(0, bytes.size() - 1)),
      AllOf(HasSubstr(fmt::format("expected {} bytes of data", data_.size())), HasSubstr("incomplete")));
  EXPECT_THAT(load_raw(bytes + "x"), HasSubstr("bytes of data"));
  EXPECT_THAT(load_raw(bytes.substr(0, 100)), AllOf(HasSubstr("only 92 follow"), HasSubstr("incomplete")));
  EXPECT_THAT(load_raw(bytes.substr(0, 9)), HasSubstr("only 1 follow"));
}

TEST_F(SafetensorsFile, Header) {
  EXPECT_THAT(load_raw(std::string("\x05\0\0\0\0\0\0\0{\"a\":", 13)), HasSubstr("header in JSON"));
  EXPECT_THAT(load_raw(std::string("\xFF\xFF\xFF\xFF\0\0\0\0{}", 10)),
              HasSubstr("header should have 4294967295 bytes"));
  std::string nested(8, '\0');
  nested[2] = 1;
  nested += "{\"a\":" + std::string(65531, '[');
  EXPECT_THAT(load_raw(nested), HasSubstr("nested at most 4 deep"));
}

TEST_F(SafetensorsFile, NanInF32) {
  const auto begin = header_["features.2.bias"]["data_offsets"][0].get<std::size_t>();
  const float nan = std::nanf("");
  std::memcpy(data_.data() + begin + 8, &nan, 4);
  EXPECT_THAT(load(), AllOf(HasSubstr("layer block1_conv2"), HasSubstr("features.2.bias holds nan at [2]")));
}

}  // namespace
}  // namespace filterscope
