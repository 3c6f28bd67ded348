#include "canvas.h"

#include <algorithm>
#include <utility>

#include "font.h"

namespace filterscope {

Canvas::Canvas(int height, int width) : picture_{{height, width}, {}} {
  picture_.pixels.resize(static_cast<std::size_t>(picture_.extent.positions()) * 3);
  fill(0, 0, height, width, palette::kBackground);
}

void Canvas::fill(int top, int left, int height, int width, Colour colour) {
  for (int y = top; y < top + height; ++y)
    for (int x = left; x < left + width; ++x) set(y, x, colour);
}

void Canvas::frame(int top, int left, int height, int width, int thickness, Colour colour) {
  fill(top - thickness, left - thickness, thickness, width + 2 * thickness, colour);
  fill(top + height, left - thickness, thickness, width + 2 * thickness, colour);
  fill(top, left - thickness, height, thickness, colour);
  fill(top, left + width, height, thickness, colour);
}

void Canvas::corner(int top, int left, int side, Colour colour) {
  for (int y = 0; y < side; ++y) fill(top + y, left, 1, side - y, colour);
}

void Canvas::paste(int top, int left, const RgbImage& picture) {
  const auto width = static_cast<std::size_t>(picture.extent.width) * 3;
  for (int y = 0; y < picture.extent.height; ++y)
    std::copy_n(picture.pixels.begin() + static_cast<std::ptrdiff_t>(y * width), width,
                picture_.pixels.begin() + static_cast<std::ptrdiff_t>(offset(top + y, left)));
}

void Canvas::text(int top, int left, int scale, std::string_view text, Colour colour) {
  for (const char character : text) {
    const Glyph& rows = glyph(character);
    for (int y = 0; y < kGlyphHeight; ++y)
      for (int x = 0; x < kGlyphWidth; ++x)
        if ((rows[static_cast<std::size_t>(y)] >> (kGlyphWidth - 1 - x) & 1) != 0)
          fill(top + y * scale, left + x * scale, scale, scale, colour);
    left += kGlyphWidth * scale;
  }
}

void Canvas::label(int top, int left, int scale, std::string_view text, int padding, Colour colour,
                   Colour ground) {
  fill(top, left, kGlyphHeight * scale + padding, text_width(text, scale) + 4 * padding, ground);
  this->text(top + padding / 2, left + 2 * padding, scale, text, colour);
}

std::size_t Canvas::offset(int y, int x) const {
  return (static_cast<std::size_t>(y) * static_cast<std::size_t>(picture_.extent.width) +
          static_cast<std::size_t>(x)) *
         3;
}

void Canvas::set(int y, int x, Colour colour) {
  if (y < 0 || x < 0 || y >= picture_.extent.height || x >= picture_.extent.width) return;
  std::uint8_t* pixel = &picture_.pixels[offset(y, x)];
  pixel[0] = colour.red;
  pixel[1] = colour.green;
  pixel[2] = colour.blue;
}

int text_width(std::string_view text, int scale) {
  return static_cast<int>(text.size()) * kGlyphWidth * scale;
}

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

}  // namespace filterscope
