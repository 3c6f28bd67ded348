#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <vector>

#include "../base/extent.h"

namespace filterscope {

/// The animated PNG file (W3C, Portable Network Graphics, third edition, section 11.3.7) of one ascent's
/// frames, each row-major [height, width, 3], RGB; at least one. Whatever their number, it runs for about
/// four seconds, shows the last frame for two more, and repeats. A viewer that does not know APNG shows the
/// first frame. Throws std::invalid_argument if the extent is empty or does not match. Thread-safe.
std::vector<std::uint8_t> encode_apng(std::span<const std::vector<std::uint8_t>> frames, Extent extent);

/// Reads a file of encode_apng(). Empty if the file cannot be read, is damaged, or has another extent or
/// number of frames.
std::vector<std::vector<std::uint8_t>> read_apng(const std::filesystem::path& path, Extent extent,
                                                 int frames);

/// Whether the file starts and ends like an animation of that size and number of frames; what is between is
/// not read.
bool is_whole_apng(const std::filesystem::path& path, Extent extent, int frames);

}  // namespace filterscope
