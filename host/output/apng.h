#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <vector>

#include "../base/extent.h"

namespace filterscope {

/// The animated PNG file (W3C, Portable Network Graphics, third edition, section 11.3.7) of one ascent's
/// frames, each row-major [height, width, 3], RGB; at least one. It runs for about four seconds, however many
/// there are, shows the last one for two more, and begins again. A program that knows PNG alone shows the
/// first. Throws std::invalid_argument when the extent is empty or does not match. Safe to call from several
/// threads.
std::vector<std::uint8_t> encode_apng(std::span<const std::vector<std::uint8_t>> frames, Extent extent);

/// Reads what encode_apng() wrote. Nothing where the file cannot be read, is damaged, or is of another extent
/// or number of frames.
std::vector<std::vector<std::uint8_t>> read_apng(const std::filesystem::path& path, Extent extent,
                                                 int frames);

/// Whether the file has the beginning and the end of an animation of that size and number of frames; a quick
/// look, without reading what is between.
bool is_whole_apng(const std::filesystem::path& path, Extent extent, int frames);

}  // namespace filterscope
