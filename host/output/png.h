#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <vector>

#include "../base/extent.h"

namespace filterscope {

/// An 8-bit RGB picture, row-major [height, width, 3].
struct Picture {
  Extent extent{};
  std::vector<std::uint8_t> pixels;
};

/// The PNG file of `pixels`, row-major [height, width, 3], RGB. Throws std::invalid_argument when the extent
/// is empty or does not match. Safe to call from several threads.
std::vector<std::uint8_t> encode_png(std::span<const std::uint8_t> pixels, Extent extent);

/// Writes that file whole; an output Error when it cannot be written.
void write_png(const std::filesystem::path& path, std::span<const std::uint8_t> pixels, Extent extent);

/// Reads a PNG file as 8-bit RGB, whatever its own channels and depth; what is transparent keeps its colour.
/// Nothing where the file cannot be read or is no whole PNG file. Safe to call from several threads.
std::optional<Picture> read_png(const std::filesystem::path& path);

/// The same of a file in memory.
std::optional<Picture> decode_png(std::span<const std::uint8_t> file);

/// Whether the file has the beginning and the end of a PNG file of that size; a quick look, without reading
/// what is between.
bool is_whole_png(const std::filesystem::path& path, Extent extent);

}  // namespace filterscope
