#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "../output/png.h"
#include "../run/filter_result.h"

namespace filterscope {

/// One filter's place on a sheet.
struct SheetTile {
  int filter = 0;
  std::optional<FilterStatus> status;  ///< Empty: the filter is missing, and so is its picture.
  RgbImage picture;                    ///< By scale_tile().
};

/// The heading of a sheet.
struct SheetHeading {
  std::string title;       ///< Such as "vgg16 block3_conv1".
  std::string details;     ///< Recipe, size, weights; wrapped to the sheet's width.
  bool synthetic = false;  ///< Adds the label "SYNTHETIC WEIGHTS".
};

/// Longest side of a tile, in pixels.
inline constexpr int kLargestTile = 128;

/// A picture, row-major [height, width, 3], as it is shown on a sheet: unchanged if its sides are at most
/// `largest`, else reduced by averaging over squares of a whole number of pixels.
RgbImage scale_tile(std::span<const std::uint8_t> pixels, Extent extent, int largest = kLargestTile);
/// The extent of scale_tile()'s result.
Extent tile_extent(Extent extent, int largest = kLargestTile);

/// All tiles in a grid under a heading, each above its filter number. Dead filters have a red frame and
/// label, nonfinite ones an amber one; rescued ones have a small blue corner. `tile` is the extent of every
/// tile's picture.
RgbImage draw_sheet(const SheetHeading& heading, const std::vector<SheetTile>& tiles, Extent tile);

}  // namespace filterscope
