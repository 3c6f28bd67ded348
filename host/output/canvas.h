#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "png.h"

namespace filterscope {

struct Colour {
  std::uint8_t red, green, blue;
};

/// The colours of sheets and posters, dark so that the pictures stand out.
namespace palette {
inline constexpr Colour kBackground{24, 25, 28};
inline constexpr Colour kEmpty{34, 36, 40};    ///< The place of a missing filter.
inline constexpr Colour kOutline{62, 65, 71};  ///< Around that place.
inline constexpr Colour kTitle{240, 240, 242};
inline constexpr Colour kText{172, 176, 184};
inline constexpr Colour kFaint{110, 114, 122};
inline constexpr Colour kRescued{122, 170, 214};
inline constexpr Colour kDead{240, 82, 74};
inline constexpr Colour kNonfinite{245, 180, 60};
inline constexpr Colour kBadge{245, 180, 60};
inline constexpr Colour kBadgeText{24, 20, 8};
}  // namespace palette

/// A picture to draw on. Coordinates are pixels from the upper left corner; drawing is clipped.
class Canvas {
 public:
  /// Filled with palette::kBackground.
  Canvas(int height, int width);

  void fill(int top, int left, int height, int width, Colour colour);
  /// A frame of `thickness` around (outside) the rectangle.
  void frame(int top, int left, int height, int width, int thickness, Colour colour);
  /// A filled triangle with legs of `side` in the upper left corner of the rectangle at (top, left).
  void corner(int top, int left, int side, Colour colour);
  /// `picture` must lie within the canvas.
  void paste(int top, int left, const RgbImage& picture);
  /// Draws printable ASCII, with glyphs enlarged `scale` times.
  void text(int top, int left, int scale, std::string_view text, Colour colour);

  /// text() on a rectangle of `ground` that extends beyond it by twice `padding` on the left and right, and
  /// by half of it above and below.
  void label(int top, int left, int scale, std::string_view text, int padding, Colour colour, Colour ground);

  RgbImage take() { return std::move(picture_); }

 private:
  std::size_t offset(int y, int x) const;
  void set(int y, int x, Colour colour);

  RgbImage picture_;
};

/// Width of Canvas::text() in pixels.
int text_width(std::string_view text, int scale);

/// Marks every sheet and poster of a run with synthetic weights.
inline constexpr std::string_view kSyntheticLabel = "SYNTHETIC WEIGHTS";

/// Breaks text at spaces into lines of at most `columns` characters; longer words are broken anywhere.
std::vector<std::string> wrap(std::string_view text, std::size_t columns);

}  // namespace filterscope
