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
  std::optional<FilterStatus> status;  ///< Nothing: the filter is missing and its place stays empty.
  Picture picture;                     ///< As scale_tile() gives it.
};

/// What the heading of a sheet says.
struct SheetHeading {
  std::string title;       ///< Such as "vgg16 block3_conv1".
  std::string details;     ///< Recipe, size, weights; wrapped to the sheet's width.
  bool synthetic = false;  ///< Adds the label "SYNTHETIC WEIGHTS".
};

/// Longest side of a tile, in pixels.
inline constexpr int kLargestTile = 128;

/// A picture, row-major [height, width, 3], as it stands on a sheet: itself where its sides are up to
/// `largest`, otherwise reduced by averaging over squares of a whole number of pixels.
Picture scale_tile(std::span<const std::uint8_t> pixels, Extent extent, int largest = kLargestTile);
/// The extent of what scale_tile() gives.
Extent tile_extent(Extent extent, int largest = kLargestTile);

/// All tiles in a grid under a heading, each with its filter number below. Dead filters are framed and named
/// in red, those that stopped being finite in amber; rescued ones have a small blue corner. `tile` is the
/// extent of every tile's picture.
Picture draw_sheet(const SheetHeading& heading, const std::vector<SheetTile>& tiles, Extent tile);

}  // namespace filterscope
