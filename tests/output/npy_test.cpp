#include "host/output/npy.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <random>
#include <stdexcept>
#include <string>

#include "files.h"
#include "tests/support/temporary_folder.h"

namespace filterscope {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;

std::filesystem::path data(const std::string& name) {
  return std::filesystem::path(FILTERSCOPE_TEST_DATA) / "npy" / name;
}

std::vector<float> ramp(std::size_t count, float start = -3.f) {
  std::vector<float> values(count);
  for (std::size_t i = 0; i < count; ++i) values[i] = start + static_cast<float>(i) / 4;
  return values;
}

/// A .npy file with this dictionary, padded as NumPy does.
std::string npy(std::string dictionary, const std::vector<float>& values) {
  dictionary.resize((dictionary.size() + 10) / 64 * 64 + 64 - 11, ' ');
  dictionary += '\n';
  std::string file("\x93NUMPY\x01\x00", 8);
  file += static_cast<char>(dictionary.size() & 0xff);
  file += static_cast<char>(dictionary.size() >> 8);
  file += dictionary;
  return file.append(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float));
}

std::string refusal(const std::filesystem::path& path) {
  return error_of(ErrorKind::input, [&] { read_initial_images(path); });
}

class NpyTest : public testing::Test {
 protected:
  std::string refusal_of(const std::string& content) {
    write_text(folder_ / "a.npy", content);
    return refusal(folder_ / "a.npy");
  }
  TemporaryFolder folder_;
};

TEST_F(NpyTest, ReadsWhatNumpyWrites) {
  const InitialImages images = read_initial_images(data("images.npy"));
  EXPECT_EQ(images.count, 2);
  EXPECT_EQ(images.extent, (Extent{3, 4}));
  EXPECT_EQ(images.values, ramp(72));
  for (const char* name : {"image_v2.npy", "image_v3.npy"}) {
    const InitialImages image = read_initial_images(data(name));
    EXPECT_EQ(image.count, 1);
    EXPECT_EQ(image.extent, (Extent{3, 4}));
    EXPECT_EQ(image.values, ramp(36));
  }
}

TEST_F(NpyTest, WritesTheBytesThatNumpyWrites) {
  NpyImageWriter writer(folder_ / "a.npy", 2, {3, 4});
  writer.append(ramp(36));
  writer.append(ramp(36, 6));
  EXPECT_THAT(files_below(folder_.path()), testing::Not(testing::Contains("a.npy")));
  writer.finish();
  EXPECT_EQ(read_text(folder_ / "a.npy"), read_text(data("images.npy")));
  EXPECT_THAT(files_below(folder_.path()), ElementsAre("a.npy"));
}

TEST_F(NpyTest, LeavesNoFileWhenNotFinished) {
  {
    NpyImageWriter writer(folder_ / "a.npy", 2, {2, 2});
    writer.append(ramp(12));
  }
  EXPECT_THAT(files_below(folder_.path()), ElementsAre());
}

TEST_F(NpyTest, WriterRejectsOtherSizesAndCounts) {
  NpyImageWriter writer(folder_ / "a.npy", 2, {2, 2});
  EXPECT_THROW(writer.append(ramp(11)), std::invalid_argument);
  writer.append(ramp(12));
  EXPECT_THROW(writer.finish(), std::logic_error);
}

TEST_F(NpyTest, ReadsBackSingleImages) {
  const std::filesystem::path path = folder_ / "a.npy";
  NpyImageWriter writer(path, 3, {3, 5});
  std::vector<std::vector<float>> images;
  for (int row = 0; row < 3; ++row) {
    images.push_back(ramp(45, static_cast<float>(100 * row)));
    images.back()[7] = std::numeric_limits<float>::quiet_NaN();  // Bits are compared, not values.
    writer.append(images.back());
  }
  writer.finish();
  EXPECT_TRUE(holds_images(path, 3, {3, 5}));
  for (int row = 0; row < 3; ++row) {
    const std::vector<float> image = read_image(path, 3, row, {3, 5});
    ASSERT_EQ(image.size(), 45u);
    EXPECT_EQ(std::memcmp(image.data(), images[static_cast<std::size_t>(row)].data(), 45 * sizeof(float)), 0);
  }
  EXPECT_FALSE(holds_images(path, 2, {3, 5}));
  EXPECT_FALSE(holds_images(path, 3, {5, 3}));
  EXPECT_FALSE(holds_images(folder_ / "none.npy", 3, {3, 5}));
  const std::string whole = read_text(path);
  write_text(path, whole.substr(0, whole.size() - 1));
  EXPECT_FALSE(holds_images(path, 3, {3, 5}));
  EXPECT_THAT(error_of(ErrorKind::input, [&] { read_image(path, 3, 2, {3, 5}); }), HasSubstr("a.npy"));
}

TEST_F(NpyTest, RejectsOtherArrays) {
  EXPECT_THAT(refusal(data("float64.npy")),
              AllOf(HasSubstr("--init"), HasSubstr("float64.npy"), HasSubstr("float32"),
                    HasSubstr("found values of type '<f8'"), HasSubstr("numpy.save")));
  EXPECT_THAT(refusal(data("big_endian.npy")), HasSubstr("'>f4'"));
  EXPECT_THAT(refusal(data("fortran.npy")), HasSubstr("Fortran order"));
  EXPECT_THAT(refusal(data("grey.npy")), HasSubstr("shape [3, 4]"));
  EXPECT_THAT(refusal(data("structured.npy")), HasSubstr("the header \"{'descr': [('a', '<f4')"));
}

TEST_F(NpyTest, RejectsOtherThanRegularFiles) {
  EXPECT_THAT(refusal(folder_ / "none.npy"), AllOf(HasSubstr("none.npy"), HasSubstr("no such file")));
  EXPECT_THAT(refusal(folder_.path()), HasSubstr("not a regular file"));
  ASSERT_EQ(::mkfifo((folder_ / "pipe.npy").c_str(), 0600), 0);
  EXPECT_THAT(refusal(folder_ / "pipe.npy"), HasSubstr("not a regular file"));
  EXPECT_THAT(refusal_of(""), HasSubstr("a file of 0 bytes that does not begin like a .npy file"));
  EXPECT_THAT(refusal_of("x"), HasSubstr("a file of 1 byte that"));
  EXPECT_THAT(refusal_of("\x89PNG and more than that"), HasSubstr("does not begin like"));
  EXPECT_THAT(refusal_of(std::string("\x93NUMPY\x04\x00\x00\x00\x00\x00", 12)), HasSubstr("version 4"));
}

TEST_F(NpyTest, RejectsShapes) {
  const auto shape = [&](std::string_view text, std::size_t count) {
    return refusal_of(
        npy(fmt::format("{{'descr': '<f4', 'fortran_order': False, 'shape': {}, }}", text), ramp(count)));
  };
  EXPECT_THAT(shape("(2, 2, 4)", 16), HasSubstr("found shape [2, 2, 4]"));
  EXPECT_THAT(shape("(3, 2, 2)", 12),
              AllOf(HasSubstr("found shape [3, 2, 2]"), HasSubstr("images.transpose(1, 2, 0)")));
  EXPECT_THAT(shape("(5, 3, 2, 2)", 60), HasSubstr("images.transpose(0, 2, 3, 1)"));
  EXPECT_THAT(shape("(3, 40000, 2)", 12),
              AllOf(HasSubstr("no dimension above 32,768"), Not(HasSubstr("transpose"))));
  EXPECT_THAT(shape("(2, 2, 1)", 4), Not(HasSubstr("ascontiguousarray")));
  EXPECT_THAT(shape("(1, 1, 2, 2, 3)", 12), HasSubstr("found shape [1, 1, 2, 2, 3]"));
  EXPECT_THAT(shape("()", 1), HasSubstr("found shape []"));
  EXPECT_THAT(shape("(12,)", 12), HasSubstr("found shape [12]"));
  EXPECT_THAT(shape("(0, 2, 3)", 0), HasSubstr("found shape [0, 2, 3]"));
  EXPECT_THAT(shape("(2, -2, 3)", 12), HasSubstr("the header"));
  EXPECT_THAT(shape("(2, 2, 3)", 11),
              AllOf(HasSubstr("48 bytes"), HasSubstr("44 bytes"), HasSubstr("cut off")));
  EXPECT_THAT(shape("(2, 2, 3)", 13), AllOf(HasSubstr("48 bytes"), HasSubstr("52 bytes")));
}

// Sizes that exceed memory, or whose product wraps around to the size of the file, must be rejected.
TEST_F(NpyTest, RejectsAbsurdSizesWithoutAllocating) {
  for (const char* shape :
       {"(4294967296, 4294967296, 3)", "(32768, 32768, 32768, 3)", "(18446744073709551615, 1, 3)",
        "(99999999999999999999999, 1, 3)", "(9223372036854775808, 2, 1, 3)"})
    EXPECT_THAT(
        refusal_of(npy(fmt::format("{{'descr': '<f4', 'fortran_order': False, 'shape': {}, }}", shape), {})),
        HasSubstr("expected a .npy file"))
        << shape;
}

TEST_F(NpyTest, AcceptsEveryWayToWriteTheHeader) {
  for (const char* text :
       {"{'descr': '<f4', 'fortran_order': False, 'shape': (2, 2, 3)}",
        "{\"shape\":(2,2,3,),\"fortran_order\":False,\"descr\":\"<f4\"}",
        " {'fortran_order' : False , 'descr' : '<f4' , 'shape' : ( 1 , 2 , 2 , 3 ) , } "}) {
    write_text(folder_ / "a.npy", npy(text, ramp(12)));
    EXPECT_EQ(read_initial_images(folder_ / "a.npy").values, ramp(12)) << text;
  }
}

TEST_F(NpyTest, RejectsHeaders) {
  for (const char* text :
       {"", "{", "{}", "{'descr': '<f4', 'fortran_order': False}",
        "{'descr': '<f4', 'fortran_order': 0, 'shape': (2, 2, 3)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 2, 3), 'shape': (2, 2, 3)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 2, 3), 'more': 1}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 2, 3",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (,)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 2, 3)} and more", "{'descr': '<f4"})
    EXPECT_THAT(refusal_of(npy(text, ramp(12))), HasSubstr("the header")) << text;
}

TEST_F(NpyTest, RejectsValuesThatAreNotFinite) {
  for (const float bad : {std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()}) {
    std::vector<float> values = ramp(12);
    values[7] = bad;
    EXPECT_THAT(
        refusal_of(npy("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 2, 3)}", values)),
        AllOf(HasSubstr("expected finite values"), HasSubstr(fmt::format("found {} at value 7", bad))));
  }
}

// Any bytes give images or an input Error with a printable message.
TEST_F(NpyTest, SurvivesRandomDamage) {
  const std::vector<std::string> originals{read_text(data("images.npy")), read_text(data("image_v2.npy")),
                                           read_text(data("structured.npy"))};
  std::mt19937 random(1);
  const auto below = [&](std::size_t limit) {
    return std::uniform_int_distribution<std::size_t>(0, limit - 1)(random);
  };
  constexpr std::string_view kTokens[] = {"(", ")",    "'",          "{",  "}",  ",",
                                          ":", "True", "9999999999", "-1", "\"", "\n"};
  int refused = 0;
  for (int round = 0; round < 1000; ++round) {
    std::string bytes = originals[below(originals.size())];
    for (std::size_t change = 0; change <= below(4); ++change) {
      // Nearly all that matters is in the first 128 bytes.
      const std::size_t at = below(below(4) == 0 ? bytes.size() : std::min<std::size_t>(bytes.size(), 100));
      switch (below(4)) {
        case 0:
          bytes[at] = static_cast<char>(below(256));
          break;
        case 1:
          bytes.resize(at + 1);
          break;
        case 2:
          bytes.insert(at, kTokens[below(std::size(kTokens))]);
          break;
        default:
          bytes.erase(at, 1 + below(4));
          if (bytes.empty()) bytes = "x";
      }
    }
    write_text(folder_ / "a.npy", bytes);
    try {
      const InitialImages images = read_initial_images(folder_ / "a.npy");
      EXPECT_EQ(images.values.size(), static_cast<std::size_t>(images.count * images.extent.positions() * 3));
    } catch (const Error& error) {
      ++refused;
      EXPECT_EQ(error.kind(), ErrorKind::input);
      EXPECT_TRUE(std::ranges::all_of(std::string_view(error.what()), [](char c) {
        return c >= ' ' && c <= '~';
      })) << error.what();
    }
  }
  EXPECT_GT(refused, 350);
}

}  // namespace
}  // namespace filterscope
