#pragma once

#include <array>
#include <cstdint>

namespace filterscope {

inline constexpr int kGlyphWidth = 8;    ///< Pixels, with the space to the next glyph.
inline constexpr int kGlyphHeight = 13;  ///< Pixels.

/// One row of pixels per byte, the leftmost pixel the highest bit.
using Glyph = std::array<std::uint8_t, kGlyphHeight>;

/// The picture of a printable ASCII character; of anything else, that of a question mark.
const Glyph& glyph(char character);

}  // namespace filterscope
