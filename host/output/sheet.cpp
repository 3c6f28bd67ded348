#include "sheet.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <stdexcept>
#include <string_view>
#include <utility>

#include "font.h"

namespace filterscope {
namespace {

struct Colour {
  std::uint8_t red, green, blue;
};
constexpr Colour kBackground{24, 25, 28};
constexpr Colour kEmpty{34, 36, 40};    ///< The place of a missing filter.
constexpr Colour kOutline{62, 65, 71};  ///< Around it.
constexpr Colour kTitle{240, 240, 242};
constexpr Colour kText{172, 176, 184};
constexpr Colour kFaint{110, 114, 122};
constexpr Colour kDead{240, 82, 74};
constexpr Colour kNonfinite{245, 180, 60};
constexpr Colour kBadge{245, 180, 60};
constexpr Colour kBadgeText{24, 20, 8};

constexpr int kMargin = 24;
constexpr int kGap = 10;         ///< Between tiles: room for two frames and a dark line between them.
constexpr int kFrame = 3;        ///< Width of the frame of a marked tile, outside its picture.
constexpr int kLabelSpace = 5;   ///< Between a picture and its label: clear of the frame.
constexpr int kNarrowest = 520;  ///< Room for the heading of a sheet of few tiles.

class Canvas {
 public:
  Canvas(int height, int width) : picture_{{height, width}, {}} {
    picture_.pixels.resize(static_cast<std::size_t>(picture_.extent.positions()) * 3);
    fill(0, 0, height, width, kBackground);
  }

  void fill(int top, int left, int height, int width, Colour colour) {
    for (int y = top; y < top + height; ++y)
      for (int x = left; x < left + width; ++x) set(y, x, colour);
  }

  /// A frame of `thickness` around (outside) the rectangle.
  void frame(int top, int left, int height, int width, int thickness, Colour colour) {
    fill(top - thickness, left - thickness, thickness, width + 2 * thickness, colour);
    fill(top + height, left - thickness, thickness, width + 2 * thickness, colour);
    fill(top, left - thickness, height, thickness, colour);
    fill(top, left + width, height, thickness, colour);
  }

  /// A filled triangle with legs of `side` in the upper left corner of the rectangle at (top, left).
  void corner(int top, int left, int side, Colour colour) {
    for (int y = 0; y < side; ++y) fill(top + y, left, 1, side - y, colour);
  }

  void paste(int top, int left, const Picture& picture) {
    const auto width = static_cast<std::size_t>(picture.extent.width) * 3;
    for (int y = 0; y < picture.extent.height; ++y)
      std::copy_n(picture.pixels.begin() + static_cast<std::ptrdiff_t>(y * width), width,
                  picture_.pixels.begin() + static_cast<std::ptrdiff_t>(offset(top + y, left)));
  }

  void text(int top, int left, int scale, std::string_view text, Colour colour) {
    for (const char character : text) {
      const Glyph& rows = glyph(character);
      for (int y = 0; y < kGlyphHeight; ++y)
        for (int x = 0; x < kGlyphWidth; ++x)
          if ((rows[static_cast<std::size_t>(y)] >> (kGlyphWidth - 1 - x) & 1) != 0)
            fill(top + y * scale, left + x * scale, scale, scale, colour);
      left += kGlyphWidth * scale;
    }
  }

  Picture take() { return std::move(picture_); }

 private:
  std::size_t offset(int y, int x) const {
    return (static_cast<std::size_t>(y) * static_cast<std::size_t>(picture_.extent.width) +
            static_cast<std::size_t>(x)) *
           3;
  }
  void set(int y, int x, Colour colour) {
    if (y < 0 || x < 0 || y >= picture_.extent.height || x >= picture_.extent.width) return;
    std::uint8_t* pixel = &picture_.pixels[offset(y, x)];
    pixel[0] = colour.red;
    pixel[1] = colour.green;
    pixel[2] = colour.blue;
  }

  Picture picture_;
};

int text_width(std::string_view text, int scale) {
  return static_cast<int>(text.size()) * kGlyphWidth * scale;
}

/// Lines of at most `columns` characters, broken at spaces; a longer word is broken anywhere.
std::vector<std::string> wrap(std::string_view text, std::size_t columns) {
  std::vector<std::string> lines;
  while (text.size() > columns) {
    std::size_t end = text.rfind(' ', columns);
    if (end == std::string_view::npos || end == 0) end = columns;
    lines.emplace_back(text.substr(0, end));
    text.remove_prefix(end);
    text.remove_prefix(std::min(text.find_first_not_of(' '), text.size()));
  }
  if (!text.empty()) lines.emplace_back(text);
  return lines;
}

/// Up to four tiles stand in one row. More stand in a power of two of columns, so that every row of a full
/// layer starts with a round filter number: 64 in 8 x 8, 256 in 16 x 16, 512 in 32 x 16.
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
    case FilterStatus::ok:  // As missing ones.
      break;
  }
  return std::to_string(tile.filter);
}

/// "64 filters, 2 dead (red), 1 missing"
std::string summary_of(const std::vector<SheetTile>& tiles) {
  const auto count = [&](std::optional<FilterStatus> status) {
    return std::ranges::count(tiles, status, &SheetTile::status);
  };
  std::string text = fmt::format("{} filter{}", tiles.size(), tiles.size() == 1 ? "" : "s");
  if (const auto dead = count(FilterStatus::dead)) text += fmt::format(", {} dead (red)", dead);
  if (const auto nonfinite = count(FilterStatus::nonfinite))
    text += fmt::format(", {} stopped at a value that is not finite (amber)", nonfinite);
  if (const auto missing = count(std::nullopt)) text += fmt::format(", {} missing (empty)", missing);
  return text;
}

}  // namespace

Picture scale_tile(std::span<const std::uint8_t> pixels, Extent extent) {
  if (pixels.size() != static_cast<std::size_t>(extent.positions()) * 3)
    throw std::invalid_argument("scale_tile: the pixels do not match the extent");
  const int factor = (std::max(extent.height, extent.width) + kLargestTile - 1) / kLargestTile;
  if (factor <= 1) return {extent, {pixels.begin(), pixels.end()}};
  const auto reduced = [factor](int size) { return (size + factor - 1) / factor; };
  Picture tile{{reduced(extent.height), reduced(extent.width)}, {}};
  tile.pixels.reserve(static_cast<std::size_t>(tile.extent.positions()) * 3);
  for (int y = 0; y < tile.extent.height; ++y) {
    const int bottom = std::min((y + 1) * factor, extent.height);
    for (int x = 0; x < tile.extent.width; ++x) {
      const int right = std::min((x + 1) * factor, extent.width);
      const int count = (bottom - y * factor) * (right - x * factor);
      for (int c = 0; c < 3; ++c) {
        int sum = count / 2;  // Rounds to the nearest.
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

Picture draw_sheet(const SheetHeading& heading, const std::vector<SheetTile>& tiles, Extent tile) {
  const int count = static_cast<int>(tiles.size());
  const int columns = columns_of(count);
  const int rows = (count + columns - 1) / columns;
  int cell_width = tile.width;
  for (const SheetTile& one : tiles) cell_width = std::max(cell_width, text_width(label_of(one), 1));
  const int cell_height = tile.height + kLabelSpace + kGlyphHeight;
  const int grid_width = columns * (cell_width + kGap) - kGap;
  const int content = std::max(grid_width, kNarrowest - 2 * kMargin);

  // Large sheets are looked at from further away.
  const int scale = content < 1000 ? 1 : 2;
  const int title_scale = scale + 1;
  const int line = kGlyphHeight * scale + 4 * scale;
  const auto lines_of = [content](std::string_view text, int text_scale) {
    return wrap(text, static_cast<std::size_t>(content / (kGlyphWidth * text_scale)));
  };
  const std::vector<std::string> title = lines_of(heading.title, title_scale);
  std::vector<std::string> details = lines_of(summary_of(tiles), scale);
  std::ranges::move(lines_of(heading.details, scale), std::back_inserter(details));

  constexpr std::string_view kSyntheticLabel = "SYNTHETIC WEIGHTS";
  const int title_line = kGlyphHeight * title_scale + 4 * scale;
  const int title_width = title.empty() ? 0 : text_width(title.back(), title_scale);
  const int badge_padding = 4 * scale;
  const int badge_width = text_width(kSyntheticLabel, title_scale) + 4 * badge_padding;
  // Beside the title where there is room, else below it.
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
    canvas.fill(badge_top, left, kGlyphHeight * title_scale + badge_padding, badge_width, kBadge);
    canvas.text(badge_top + badge_padding / 2, left + 2 * badge_padding, title_scale, kSyntheticLabel,
                kBadgeText);
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
      if (one.picture.extent != tile) throw std::invalid_argument("draw_sheet: a tile of another extent");
      canvas.paste(cell_top, left, one.picture);
      if (*one.status != FilterStatus::ok) {
        label = *one.status == FilterStatus::dead ? kDead : kNonfinite;
        canvas.frame(cell_top, left, tile.height, tile.width, kFrame, label);
        canvas.corner(cell_top, left, std::min(tile.height, tile.width) / 5, label);
      }
    }
    const std::string text = label_of(one);
    canvas.text(cell_top + tile.height + kLabelSpace, cell_left + (cell_width - text_width(text, 1)) / 2, 1,
                text, label);
  }
  return canvas.take();
}

}  // namespace filterscope
