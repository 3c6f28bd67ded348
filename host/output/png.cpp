#include "png.h"

#include <stb_image.h>
#include <stb_image_write.h>

#include <array>
#include <cstddef>
#include <fstream>
#include <memory>
#include <new>
#include <stdexcept>
#include <string_view>

#include "../base/atomic_file.h"
#include "../base/input_file.h"
#include "stb_memory.h"

namespace filterscope {
namespace {

constexpr int kChannels = 3;

/// Takes ownership of the pixels that stb_image returned; null means that it failed.
std::optional<RgbImage> picture_of(stbi_uc* pixels, Extent extent) {
  const std::unique_ptr<stbi_uc, decltype(&stbi_image_free)> owner(pixels, stbi_image_free);
  if (pixels == nullptr) {
    if (stb_lacked_memory()) throw std::bad_alloc();
    return std::nullopt;
  }
  return RgbImage{extent, {pixels, pixels + extent.positions() * kChannels}};
}

}  // namespace

std::vector<std::uint8_t> encode_png(std::span<const std::uint8_t> pixels, Extent extent) {
  if (extent.height < 1 || extent.width < 1 ||
      pixels.size() != static_cast<std::size_t>(extent.positions() * kChannels))
    throw std::invalid_argument("encode_png: the pixels do not match the extent");
  std::vector<std::uint8_t> file;
  const auto append = [](void* context, void* data, int size) {
    const auto* bytes = static_cast<const std::uint8_t*>(data);
    static_cast<std::vector<std::uint8_t>*>(context)->assign(bytes, bytes + size);
  };
  // Only the allocation can fail.
  if (stbi_write_png_to_func(append, &file, extent.width, extent.height, kChannels, pixels.data(),
                             extent.width * kChannels) == 0)
    throw std::bad_alloc();
  return file;
}

void write_png(const std::filesystem::path& path, std::span<const std::uint8_t> pixels, Extent extent) {
  write_file(path, encode_png(pixels, extent));
}

std::optional<RgbImage> read_png(const std::filesystem::path& path) {
  return decode_png(read_result_file(path));
}

std::optional<RgbImage> decode_png(std::span<const std::uint8_t> file) {
  Extent extent{};
  int channels = 0;
  start_noting_stb_memory();
  return picture_of(stbi_load_from_memory(file.data(), static_cast<int>(file.size()), &extent.width,
                                          &extent.height, &channels, kChannels),
                    extent);
}

bool is_whole_png(const std::filesystem::path& path, Extent extent) {
  // The signature, then the chunk IHDR, which begins with width and height; at the end the empty chunk IEND.
  constexpr std::string_view kStart("\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR", 16);
  constexpr std::string_view kEnd("\0\0\0\0IEND\xae\x42\x60\x82", 12);
  std::array<char, 24> start{};
  std::array<char, kEnd.size()> end{};
  std::ifstream file = open_result(path);
  file.read(start.data(), start.size());
  file.seekg(-static_cast<std::streamoff>(end.size()), std::ios::end);
  file.read(end.data(), end.size());
  if (!file) return false;
  const auto number_at = [&](std::size_t at) {
    std::uint32_t value = 0;
    for (std::size_t i = 0; i < 4; ++i) value = value << 8 | static_cast<unsigned char>(start[at + i]);
    return value;
  };
  return std::string_view(start.data(), start.size()).starts_with(kStart) &&
         number_at(16) == static_cast<std::uint32_t>(extent.width) &&
         number_at(20) == static_cast<std::uint32_t>(extent.height) &&
         std::string_view(end.data(), end.size()) == kEnd;
}

}  // namespace filterscope
