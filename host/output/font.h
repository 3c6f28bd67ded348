#pragma once

#include <array>
#include <cstdint>

namespace filterscope {

inline constexpr int kGlyphWidth = 8;    ///< Pixels, including the space to the next glyph.
inline constexpr int kGlyphHeight = 13;  ///< Pixels.

/// One row of pixels per byte, the leftmost pixel the highest bit.
using Glyph = std::array<std::uint8_t, kGlyphHeight>;

/// The glyph of a printable ASCII character; for any other, that of a question mark.
const Glyph& glyph(char character);

}  // namespace filterscope
