#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <vector>

#include "../base/extent.h"

namespace filterscope {

/// An 8-bit RGB picture, row-major [height, width, 3].
struct RgbImage {
  Extent extent{};
  std::vector<std::uint8_t> pixels;
};

/// The PNG file of `pixels`, row-major [height, width, 3], RGB. Throws std::invalid_argument if the extent is
/// empty or does not match. Thread-safe.
std::vector<std::uint8_t> encode_png(std::span<const std::uint8_t> pixels, Extent extent);

/// Writes such a file as an AtomicFile; an output Error if that fails.
void write_png(const std::filesystem::path& path, std::span<const std::uint8_t> pixels, Extent extent);

/// Reads a PNG file as 8-bit RGB, whatever its own channels and depth; transparent pixels keep their colour.
/// Empty if the file cannot be read or is not a whole PNG file. Thread-safe.
std::optional<RgbImage> read_png(const std::filesystem::path& path);

/// The same for a file in memory.
std::optional<RgbImage> decode_png(std::span<const std::uint8_t> file);

/// Whether the file starts and ends like a PNG file of that size; what is between is not read.
bool is_whole_png(const std::filesystem::path& path, Extent extent);

}  // namespace filterscope
