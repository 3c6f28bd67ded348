#include "host/output/png.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <stdexcept>

#include "files.h"
#include "tests/support/temporary_folder.h"

namespace filterscope {
namespace {

TEST(Png, ComesBackPixelByPixel) {
  const TemporaryFolder folder;
  for (const Extent extent : {Extent{1, 1}, Extent{1, 7}, Extent{5, 1}, Extent{31, 33}, Extent{96, 96}}) {
    std::vector<std::uint8_t> pixels(static_cast<std::size_t>(extent.positions()) * 3);
    std::uint32_t state = 1;
    for (std::uint8_t& value : pixels)
      value = static_cast<std::uint8_t>((state = state * 1664525 + 1013904223) >> 24);
    write_png(folder / "a.png", pixels, extent);
    const Picture picture = decode_png(folder / "a.png");
    EXPECT_EQ(picture.extent, extent);
    EXPECT_EQ(picture.pixels, pixels);
    const std::optional<Picture> read = read_png(folder / "a.png");
    ASSERT_TRUE(read.has_value());
    EXPECT_EQ(read->extent, extent);
    EXPECT_EQ(read->pixels, pixels);
  }
}

// What most pictures are, apart from some waves: a few percent may be saved where some values are rarer than
// others, and by no fixed code.
TEST(Png, MakesNoiseSmaller) {
  std::vector<std::uint8_t> pixels(96 * 96 * 3);
  std::uint32_t state = 1;
  const auto random = [&] { return (state = state * 1664525 + 1013904223) >> 26; };
  for (std::uint8_t& value : pixels)
    value = static_cast<std::uint8_t>(random() + random() + random() + random());
  EXPECT_LT(encode_png(pixels, {96, 96}).size(), pixels.size() * 97 / 100);
}

TEST(Png, RefusesPixelsOfAnotherExtent) {
  const std::vector<std::uint8_t> pixels(12);
  EXPECT_THROW(encode_png(pixels, {2, 3}), std::invalid_argument);
  EXPECT_THROW(encode_png(pixels, {-2, -2}), std::invalid_argument);
  EXPECT_THROW(encode_png({}, {0, 0}), std::invalid_argument);
}

TEST(Png, NamesTheFileThatCannotBeWritten) {
  const TemporaryFolder folder;
  const std::vector<std::uint8_t> pixels(12);
  EXPECT_THAT(error_of(ErrorKind::output,
                       [&] {
                         write_png(folder / "no" / "a.png", pixels, {2, 2});
                       }),
              testing::HasSubstr("a.png"));
}

TEST(Png, KnowsWholeFiles) {
  const TemporaryFolder folder;
  const std::filesystem::path path = folder / "a.png";
  write_png(path, std::vector<std::uint8_t>(3 * 5 * 3), {3, 5});
  const std::string whole = read_text(path);
  EXPECT_TRUE(is_whole_png(path, {3, 5}));
  EXPECT_FALSE(is_whole_png(path, {5, 3}));
  EXPECT_FALSE(is_whole_png(folder / "none.png", {3, 5}));
  EXPECT_FALSE(is_whole_png(folder.path(), {3, 5}));
  for (std::size_t length = 0; length < whole.size(); ++length) {
    write_text(path, whole.substr(0, length));
    EXPECT_FALSE(is_whole_png(path, {3, 5})) << length;
  }
  write_text(path, "x" + whole.substr(1));
  EXPECT_FALSE(is_whole_png(path, {3, 5}));
  EXPECT_FALSE(read_png(path).has_value());
}

}  // namespace
}  // namespace filterscope
