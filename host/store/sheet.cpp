#include "sheet.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <stdexcept>
#include <string_view>
#include <utility>

#include "../base/text.h"
#include "../output/canvas.h"
#include "../output/font.h"

namespace filterscope {
namespace {

using namespace palette;

constexpr int kMargin = 24;
constexpr int kGap = 10;         ///< Between tiles: room for two frames and a dark line between them.
constexpr int kFrame = 3;        ///< Width of the frame of a marked tile, outside its picture.
constexpr int kLabelSpace = 5;   ///< Between a picture and its label: room for the frame.
constexpr int kNarrowest = 520;  ///< Room for the heading of a sheet of few tiles.

/// The side of the squares of pixels that scale_tile() averages.
int reduction(Extent extent, int largest) {
  return (std::max(extent.height, extent.width) + largest - 1) / largest;
}

/// Up to four tiles are in one row. The columns of more are a power of two, so that every row of a full layer
/// starts with a round filter number: 64 in 8 x 8, 256 in 16 x 16, 512 in 32 x 16.
int columns_of(int tiles) {
  if (tiles <= 4) return std::max(tiles, 1);
  int columns = 4;
  while (columns * columns < tiles) columns *= 2;
  return columns;
}

std::string label_of(const SheetTile& tile) {
  switch (tile.status.value_or(FilterStatus::ok)) {
    case FilterStatus::dead:
      return fmt::format("{} dead", tile.filter);
    case FilterStatus::nonfinite:
      return fmt::format("{} NaN", tile.filter);
    case FilterStatus::ok:  // Also for missing filters.
    case FilterStatus::rescued:
      break;
  }
  return std::to_string(tile.filter);
}

/// "64 filters, 5 rescued (blue corner), 2 dead (red), 1 missing (empty)"
std::string summary_of(const std::vector<SheetTile>& tiles) {
  const auto count = [&](std::optional<FilterStatus> status) {
    return std::ranges::count(tiles, status, &SheetTile::status);
  };
  std::string text = counted(std::ssize(tiles), "filter");
  if (const auto rescued = count(FilterStatus::rescued))
    text += fmt::format(", {} rescued (blue corner)", rescued);
  if (const auto dead = count(FilterStatus::dead)) text += fmt::format(", {} dead (red)", dead);
  if (const auto nonfinite = count(FilterStatus::nonfinite))
    text += fmt::format(", {} stopped at a value that is not finite (amber)", nonfinite);
  if (const auto missing = count(std::nullopt)) text += fmt::format(", {} missing (empty)", missing);
  return text;
}

}  // namespace

Extent tile_extent(Extent extent, int largest) {
  const int factor = reduction(extent, largest);
  return {(extent.height + factor - 1) / factor, (extent.width + factor - 1) / factor};
}

RgbImage scale_tile(std::span<const std::uint8_t> pixels, Extent extent, int largest) {
  if (pixels.size() != static_cast<std::size_t>(extent.positions()) * 3)
    throw std::invalid_argument("scale_tile: the pixels do not match the extent");
  const int factor = reduction(extent, largest);
  if (factor == 1) return {extent, {pixels.begin(), pixels.end()}};
  RgbImage tile{tile_extent(extent, largest), {}};
  tile.pixels.reserve(static_cast<std::size_t>(tile.extent.positions()) * 3);
  for (int y = 0; y < tile.extent.height; ++y) {
    const int bottom = std::min((y + 1) * factor, extent.height);
    for (int x = 0; x < tile.extent.width; ++x) {
      const int right = std::min((x + 1) * factor, extent.width);
      const int count = (bottom - y * factor) * (right - x * factor);
      for (int c = 0; c < 3; ++c) {
        int sum = count / 2;  // Rounds to nearest.
        for (int v = y * factor; v < bottom; ++v)
          for (int u = x * factor; u < right; ++u)
            sum += pixels[(static_cast<std::size_t>(v) * static_cast<std::size_t>(extent.width) +
                           static_cast<std::size_t>(u)) *
                              3 +
                          static_cast<std::size_t>(c)];
        tile.pixels.push_back(static_cast<std::uint8_t>(sum / count));
      }
    }
  }
  return tile;
}

RgbImage draw_sheet(const SheetHeading& heading, const std::vector<SheetTile>& tiles, Extent tile) {
  const int count = static_cast<int>(tiles.size());
  const int columns = columns_of(count);
  const int rows = (count + columns - 1) / columns;
  int cell_width = tile.width;
  for (const SheetTile& one : tiles) cell_width = std::max(cell_width, text_width(label_of(one), 1));
  const int cell_height = tile.height + kLabelSpace + kGlyphHeight;
  const int grid_width = columns * (cell_width + kGap) - kGap;
  const int content = std::max(grid_width, kNarrowest - 2 * kMargin);

  // Large sheets are viewed from further away.
  const int scale = content < 1000 ? 1 : 2;
  const int title_scale = scale + 1;
  const int line = kGlyphHeight * scale + 4 * scale;
  const auto lines_of = [content](std::string_view text, int text_scale) {
    return wrap(text, static_cast<std::size_t>(content / (kGlyphWidth * text_scale)));
  };
  const std::vector<std::string> title = lines_of(heading.title, title_scale);
  std::vector<std::string> details = lines_of(summary_of(tiles), scale);
  std::ranges::move(lines_of(heading.details, scale), std::back_inserter(details));

  const int title_line = kGlyphHeight * title_scale + 4 * scale;
  const int title_width = title.empty() ? 0 : text_width(title.back(), title_scale);
  const int badge_padding = 4 * scale;
  const int badge_width = text_width(kSyntheticLabel, title_scale) + 4 * badge_padding;
  // To the right of the title if there is room, else below it.
  const bool badge_beside = title_width + kGlyphWidth * title_scale * 2 + badge_width <= content;
  const int badge_line = heading.synthetic && !badge_beside ? title_line + 2 * badge_padding : 0;
  const int heading_height = static_cast<int>(title.size()) * title_line + badge_line + 4 * scale +
                             static_cast<int>(details.size()) * line + 8 * scale;

  const int grid_top = kMargin + heading_height;
  Canvas canvas(grid_top + rows * (cell_height + kGap) - kGap + kMargin, content + 2 * kMargin);

  int top = kMargin;
  for (const std::string& text : title) {
    canvas.text(top, kMargin, title_scale, text, kTitle);
    top += title_line;
  }
  if (heading.synthetic) {
    const int badge_top = badge_beside ? top - title_line - badge_padding / 2 : top;
    const int left = badge_beside ? kMargin + content - badge_width : kMargin;
    canvas.label(badge_top, left, title_scale, kSyntheticLabel, badge_padding, kBadgeText, kBadge);
    top += badge_line;
  }
  top += 4 * scale;
  for (const std::string& text : details) {
    canvas.text(top, kMargin, scale, text, kText);
    top += line;
  }

  for (int i = 0; i < count; ++i) {
    const SheetTile& one = tiles[static_cast<std::size_t>(i)];
    const int cell_top = grid_top + i / columns * (cell_height + kGap);
    const int cell_left = kMargin + i % columns * (cell_width + kGap);
    const int left = cell_left + (cell_width - tile.width) / 2;
    Colour label = kText;
    if (!one.status) {
      canvas.frame(cell_top + 1, left + 1, tile.height - 2, tile.width - 2, 1, kOutline);
      canvas.fill(cell_top + 1, left + 1, tile.height - 2, tile.width - 2, kEmpty);
      label = kFaint;
    } else {
      if (one.picture.extent != tile) throw std::invalid_argument("draw_sheet: a tile has another extent");
      canvas.paste(cell_top, left, one.picture);
      const int side = std::min(tile.height, tile.width);
      if (*one.status == FilterStatus::rescued) {
        canvas.corner(cell_top, left, std::max(side / 12, 3), kRescued);
      } else if (*one.status != FilterStatus::ok) {
        label = *one.status == FilterStatus::dead ? kDead : kNonfinite;
        canvas.frame(cell_top, left, tile.height, tile.width, kFrame, label);
        canvas.corner(cell_top, left, side / 5, label);
      }
    }
    const std::string text = label_of(one);
    canvas.text(cell_top + tile.height + kLabelSpace, cell_left + (cell_width - text_width(text, 1)) / 2, 1,
                text, label);
  }
  return canvas.take();
}

}  // namespace filterscope
