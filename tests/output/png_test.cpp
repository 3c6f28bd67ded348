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
  }
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

}  // namespace
}  // namespace filterscope
