#pragma once

// Finds text in pictures, for tests.

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <optional>
#include <string_view>

#include "host/output/font.h"
#include "host/output/png.h"

namespace filterscope {

using Pixel = std::array<std::uint8_t, 3>;

inline Pixel pixel(const RgbImage& picture, int y, int x) {
  const auto at = (static_cast<std::size_t>(y) * static_cast<std::size_t>(picture.extent.width) +
                   static_cast<std::size_t>(x)) *
                  3;
  return {picture.pixels[at], picture.pixels[at + 1], picture.pixels[at + 2]};
}

/// Whether `text` is in the picture at some scale, with its upper left corner at (y, x), in any colours.
inline bool text_at(const RgbImage& sheet, std::string_view text, int scale, int y, int x) {
  const auto width = static_cast<int>(text.size()) * kGlyphWidth;
  if (y + kGlyphHeight * scale > sheet.extent.height || x + width * scale > sheet.extent.width) return false;
  // A quick check that is nearly always enough: a glyph's upper left pixel is paper, and the first ink
  // differs.
  const Glyph& first = glyph(text[0]);
  const auto row = static_cast<int>(std::ranges::find_if(first, [](std::uint8_t bits) { return bits != 0; }) -
                                    first.begin());
  const int column = std::countl_zero(first[static_cast<std::size_t>(row)]);
  if (pixel(sheet, y, x) == pixel(sheet, y + row * scale, x + column * scale)) return false;
  std::optional<Pixel> ink, paper;
  for (int v = 0; v < kGlyphHeight; ++v)
    for (int u = 0; u < width; ++u) {
      const Glyph& rows = glyph(text[static_cast<std::size_t>(u / kGlyphWidth)]);
      const bool set = (rows[static_cast<std::size_t>(v)] >> (7 - u % kGlyphWidth) & 1) != 0;
      std::optional<Pixel>& colour = set ? ink : paper;
      const Pixel found = pixel(sheet, y + v * scale, x + u * scale);
      if (!colour) colour = found;
      if (*colour != found) return false;
    }
  return ink != paper;
}

inline bool holds_text(const RgbImage& sheet, std::string_view text) {
  for (int scale = 1; scale <= 3; ++scale)
    for (int y = 0; y < sheet.extent.height; ++y)
      for (int x = 0; x < sheet.extent.width; ++x)
        if (text_at(sheet, text, scale, y, x)) return true;
  return false;
}

}  // namespace filterscope
