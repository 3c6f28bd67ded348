#include "host/output/png.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <zlib.h>

#include <stdexcept>

#include "files.h"
#include "tests/support/temporary_folder.h"

namespace filterscope {
namespace {

TEST(Png, IsReadBackPixelByPixel) {
  const TemporaryFolder folder;
  for (const Extent extent : {Extent{1, 1}, Extent{1, 7}, Extent{5, 1}, Extent{31, 33}, Extent{96, 96}}) {
    std::vector<std::uint8_t> pixels(static_cast<std::size_t>(extent.positions()) * 3);
    std::uint32_t state = 1;
    for (std::uint8_t& value : pixels)
      value = static_cast<std::uint8_t>((state = state * 1664525 + 1013904223) >> 24);
    write_png(folder / "a.png", pixels, extent);
    const RgbImage picture = decode_png(folder / "a.png");
    EXPECT_EQ(picture.extent, extent);
    EXPECT_EQ(picture.pixels, pixels);
    const std::optional<RgbImage> read = read_png(folder / "a.png");
    ASSERT_TRUE(read.has_value());
    EXPECT_EQ(read->extent, extent);
    EXPECT_EQ(read->pixels, pixels);
  }
}

// Checked by zlib itself, which verifies the checksum, unlike stb's decoder. Pictures are compressed in
// pieces of 4 MiB.
TEST(Png, HoldsOneStreamOfDeflate) {
  for (const Extent extent :
       {Extent{1, 1}, Extent{96, 96}, Extent{700, 1996}, Extent{700, 1998}, Extent{1500, 2100}}) {
    SCOPED_TRACE(extent.height);
    std::vector<std::uint8_t> pixels(static_cast<std::size_t>(extent.positions()) * 3);
    std::uint32_t state = 1;
    for (std::size_t i = pixels.size() / 3; i < pixels.size(); ++i)
      pixels[i] = static_cast<std::uint8_t>((state = state * 1664525 + 1013904223) >> 25);
    const std::vector<std::uint8_t> file = encode_png(pixels, extent);
    // The signature and IHDR take 33 bytes; then follow IDAT's length, name, data and CRC, and IEND.
    std::size_t length = 0;
    for (std::size_t i = 33; i < 37; ++i) length = length << 8 | file[i];
    ASSERT_EQ(file.size(), 33 + 12 + length + 12);
    const std::uint8_t* const data = file.data() + 41;
    uLong crc = 0;
    for (std::size_t i = 41 + length; i < 45 + length; ++i) crc = crc << 8 | file[i];
    EXPECT_EQ(crc32(0, data - 4, static_cast<uInt>(length + 4)), crc);
    std::vector<std::uint8_t> rows(static_cast<std::size_t>(extent.height) *
                                   (3 * static_cast<std::size_t>(extent.width) + 1));
    uLongf size = rows.size();
    EXPECT_EQ(uncompress(rows.data(), &size, data, length), Z_OK);
    EXPECT_EQ(size, rows.size());
    EXPECT_EQ(decode_png(file)->pixels, pixels);
  }
}

// Most pictures are noise with some waves. A code that is not fixed saves a few percent, since some values
// are rarer than others.
TEST(Png, MakesNoiseSmaller) {
  std::vector<std::uint8_t> pixels(96 * 96 * 3);
  std::uint32_t state = 1;
  const auto random = [&] { return (state = state * 1664525 + 1013904223) >> 26; };
  for (std::uint8_t& value : pixels)
    value = static_cast<std::uint8_t>(random() + random() + random() + random());
  EXPECT_LT(encode_png(pixels, {96, 96}).size(), pixels.size() * 97 / 100);
}

// stb gives no reason for some failures.
TEST(Png, DamageIsDamageEvenWithoutAReason) {
  std::vector<std::uint8_t> file = encode_png(std::vector<std::uint8_t>(12 * 12 * 3, 7), {12, 12});
  file[43] |= 6;  // Makes the type of the first block invalid.
  EXPECT_FALSE(decode_png(file).has_value());
}

TEST(Png, RejectsPixelsOfAnotherExtent) {
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

TEST(Png, RecognisesWholeFiles) {
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
