#include "host/store/sheet.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <optional>
#include <stdexcept>

#include "tests/output/picture_text.h"

namespace filterscope {
namespace {

/// A picture of one colour that no other tile of a test has.
RgbImage plain(Extent extent, Pixel colour) {
  RgbImage picture{extent, {}};
  for (std::int64_t i = 0; i < extent.positions(); ++i)
    picture.pixels.insert(picture.pixels.end(), colour.begin(), colour.end());
  return picture;
}

Pixel colour_of(int filter) {
  return {static_cast<std::uint8_t>(1 + filter % 16), static_cast<std::uint8_t>(201 + filter / 16), 77};
}

std::vector<SheetTile> plain_tiles(int count, Extent extent) {
  std::vector<SheetTile> tiles;
  for (int i = 0; i < count; ++i) tiles.push_back({i, FilterStatus::ok, plain(extent, colour_of(i))});
  return tiles;
}

/// The place of the picture of that colour.
std::optional<std::array<int, 2>> find(const RgbImage& sheet, Pixel colour) {
  for (int y = 0; y < sheet.extent.height; ++y)
    for (int x = 0; x < sheet.extent.width; ++x)
      if (pixel(sheet, y, x) == colour) return {{y, x}};
  return std::nullopt;
}

std::int64_t count(const RgbImage& sheet, Pixel colour) {
  std::int64_t found = 0;
  for (int y = 0; y < sheet.extent.height; ++y)
    for (int x = 0; x < sheet.extent.width; ++x) found += pixel(sheet, y, x) == colour ? 1 : 0;
  return found;
}

TEST(ScaleTile, KeepsSmallPictures) {
  for (const Extent extent : {Extent{96, 96}, Extent{128, 31}, Extent{1, 1}}) {
    const RgbImage picture = plain(extent, {1, 2, 3});
    const RgbImage tile = scale_tile(picture.pixels, extent);
    EXPECT_EQ(tile.extent, extent);
    EXPECT_EQ(tile.pixels, picture.pixels);
  }
}

TEST(ScaleTile, AveragesSquaresOfLargerOnes) {
  // 257 x 130 has squares of 3 x 3; the last ones are cut off at the edge.
  const Extent extent{257, 130};
  RgbImage picture{extent, {}};
  for (int y = 0; y < extent.height; ++y)
    for (int x = 0; x < extent.width; ++x)
      for (int c = 0; c < 3; ++c)
        picture.pixels.push_back(static_cast<std::uint8_t>((y * 7 + x * 3 + c * 50) % 256));
  const RgbImage tile = scale_tile(picture.pixels, extent);
  ASSERT_EQ(tile.extent, (Extent{86, 44}));
  for (int y = 0; y < tile.extent.height; ++y)
    for (int x = 0; x < tile.extent.width; ++x)
      for (std::size_t c = 0; c < 3; ++c) {
        double sum = 0;
        int pixels = 0;
        for (int v = 3 * y; v < std::min(3 * y + 3, extent.height); ++v)
          for (int u = 3 * x; u < std::min(3 * x + 3, extent.width); ++u, ++pixels)
            sum += pixel(picture, v, u)[c];
        ASSERT_NEAR(pixel(tile, y, x)[c], sum / pixels, 0.501) << y << ' ' << x << ' ' << c;
      }
}

TEST(ScaleTile, RejectsPixelsOfAnotherExtent) {
  EXPECT_THROW(scale_tile(std::vector<std::uint8_t>(12), {2, 3}), std::invalid_argument);
}

TEST(Sheet, HoldsEveryPictureWholeAndInOrder) {
  for (const int tiles : {1, 2, 3, 4, 5, 8, 17, 64, 100}) {
    const Extent extent{19, 23};
    const RgbImage sheet = draw_sheet({.title = "t", .details = "d"}, plain_tiles(tiles, extent), extent);
    std::array<int, 2> before{-1, -1};
    for (int i = 0; i < tiles; ++i) {
      const auto place = find(sheet, colour_of(i));
      ASSERT_TRUE(place) << i << " of " << tiles;
      EXPECT_EQ(count(sheet, colour_of(i)), extent.positions()) << i << " of " << tiles;
      EXPECT_LT(before, *place) << i << " of " << tiles;  // In rows from the top, left to right.
      before = *place;
    }
  }
}

TEST(Sheet, IsNearlySquareAndNotTooLarge) {
  for (const int tiles : {8, 64, 128, 512}) {
    const Extent extent{128, 128};
    const RgbImage sheet = draw_sheet({.title = "t", .details = "d"}, plain_tiles(tiles, extent), extent);
    EXPECT_LT(sheet.extent.width, 4500) << tiles;
    EXPECT_LT(sheet.extent.height, 4500) << tiles;
    EXPECT_LT(sheet.extent.width, 2.2 * sheet.extent.height) << tiles;
    EXPECT_LT(sheet.extent.height, 2.2 * sheet.extent.width) << tiles;
  }
}

TEST(Sheet, NumbersEveryFilterBelowItsPicture) {
  std::vector<SheetTile> tiles = plain_tiles(3, {40, 40});
  tiles[2].filter = 511;
  const RgbImage sheet = draw_sheet({.title = "t", .details = "d"}, tiles, {40, 40});
  for (std::size_t i = 0; i < tiles.size(); ++i) {
    const auto place = find(sheet, colour_of(static_cast<int>(i)));
    ASSERT_TRUE(place);
    bool labelled = false;
    for (int y = (*place)[0] + 40; y < (*place)[0] + 60; ++y)
      for (int x = (*place)[1]; x < (*place)[1] + 40; ++x)
        labelled |= text_at(sheet, std::to_string(tiles[i].filter), 1, y, x);
    EXPECT_TRUE(labelled) << tiles[i].filter;
  }
}

TEST(Sheet, SaysHowItWasMade) {
  const RgbImage sheet =
      draw_sheet({.title = "vgg16 block3_conv1", .details = "recipe seed, weights some_file.h5"},
                 plain_tiles(4, {48, 48}), {48, 48});
  EXPECT_TRUE(holds_text(sheet, "vgg16 block3_conv1"));
  EXPECT_TRUE(holds_text(sheet, "4 filters"));
  EXPECT_TRUE(holds_text(sheet, "recipe seed, weights some_file.h5"));
  EXPECT_FALSE(holds_text(sheet, "SYNTHETIC"));
}

TEST(Sheet, SaysWhenWeightsAreSynthetic) {
  for (const int tiles : {1, 64})  // Next to the title, and below it if there is no room.
    EXPECT_TRUE(holds_text(draw_sheet({.title = "vgg16 block3_conv1", .details = "d", .synthetic = true},
                                      plain_tiles(tiles, {90, 90}), {90, 90}),
                           "SYNTHETIC WEIGHTS"))
        << tiles;
}

TEST(Sheet, MarksDeadAndNonfiniteAndMissingFilters) {
  std::vector<SheetTile> tiles = plain_tiles(4, {50, 50});
  const RgbImage clean = draw_sheet({.title = "t", .details = "d"}, tiles, {50, 50});
  EXPECT_FALSE(holds_text(clean, "dead"));
  tiles[1].status = FilterStatus::dead;
  tiles[2].status = FilterStatus::nonfinite;
  tiles[3] = {3, std::nullopt, {}};
  const RgbImage sheet = draw_sheet({.title = "t", .details = "d"}, tiles, {50, 50});
  EXPECT_TRUE(holds_text(sheet, "1 dead"));
  EXPECT_TRUE(holds_text(sheet, "2 NaN"));
  EXPECT_TRUE(holds_text(sheet, "1 missing"));
  EXPECT_FALSE(find(sheet, colour_of(3)));
  // The frame is around the picture, and covers only a corner of it.
  for (const int i : {1, 2}) {
    const auto place = find(clean, colour_of(i));
    ASSERT_TRUE(place);
    const int shift = sheet.extent.height - clean.extent.height;  // The heading is longer.
    const Pixel frame = pixel(sheet, (*place)[0] + shift + 25, (*place)[1] - 1);
    EXPECT_GT(frame[0], 200) << i;
    EXPECT_LT(frame[2], 100) << i;
    EXPECT_LT(count(sheet, colour_of(i)), 50 * 50) << i;
    EXPECT_GT(count(sheet, colour_of(i)), 50 * 50 * 9 / 10) << i;
  }
}

// With a small corner, but without frame and without a mark in the label.
TEST(Sheet, MarksRescuedFiltersQuietly) {
  std::vector<SheetTile> tiles = plain_tiles(4, {50, 50});
  const RgbImage clean = draw_sheet({.title = "t", .details = "d"}, tiles, {50, 50});
  tiles[2].status = FilterStatus::rescued;
  const RgbImage sheet = draw_sheet({.title = "t", .details = "d"}, tiles, {50, 50});
  EXPECT_TRUE(holds_text(sheet, "4 filters, 1 rescued (blue corner)"));
  ASSERT_EQ(sheet.extent, clean.extent);
  const auto place = find(clean, colour_of(2));
  ASSERT_TRUE(place);
  const Pixel corner = pixel(sheet, (*place)[0], (*place)[1]);
  EXPECT_GT(corner[2], corner[0]);
  EXPECT_NE(corner, pixel(clean, (*place)[0], (*place)[1]));
  EXPECT_EQ(pixel(sheet, (*place)[0] + 25, (*place)[1] - 1), pixel(clean, (*place)[0] + 25, (*place)[1] - 1));
  EXPECT_LT(count(sheet, colour_of(2)), 50 * 50);
  EXPECT_GT(count(sheet, colour_of(2)), 50 * 50 * 98 / 100);
}

TEST(Sheet, ShowsWhatIsNotAsciiAsQuestionMarks) {
  EXPECT_TRUE(holds_text(
      draw_sheet({.title = "a\xc3\xa9z", .details = "d"}, plain_tiles(1, {32, 32}), {32, 32}), "a??z"));
}

}  // namespace
}  // namespace filterscope
