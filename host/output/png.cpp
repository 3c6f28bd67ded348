#include "png.h"

#include <stb_image.h>
#include <stb_image_write.h>

#include <cstddef>
#include <memory>
#include <new>
#include <stdexcept>

#include "atomic_file.h"

namespace filterscope {

std::vector<std::uint8_t> encode_png(std::span<const std::uint8_t> pixels, Extent extent) {
  constexpr int kChannels = 3;
  if (extent.height < 1 || extent.width < 1 ||
      pixels.size() != static_cast<std::size_t>(extent.positions() * kChannels))
    throw std::invalid_argument("encode_png: the pixels do not match the extent");
  std::vector<std::uint8_t> file;
  const auto append = [](void* context, void* data, int size) {
    const auto* bytes = static_cast<const std::uint8_t*>(data);
    static_cast<std::vector<std::uint8_t>*>(context)->assign(bytes, bytes + size);
  };
  // All that can fail is memory.
  if (stbi_write_png_to_func(append, &file, extent.width, extent.height, kChannels, pixels.data(),
                             extent.width * kChannels) == 0)
    throw std::bad_alloc();
  return file;
}

void write_png(const std::filesystem::path& path, std::span<const std::uint8_t> pixels, Extent extent) {
  write_file(path, encode_png(pixels, extent));
}

std::optional<Picture> read_png(const std::filesystem::path& path) {
  constexpr int kChannels = 3;
  Picture picture;
  int channels = 0;
  const std::unique_ptr<stbi_uc, decltype(&stbi_image_free)> pixels(
      stbi_load(path.c_str(), &picture.extent.width, &picture.extent.height, &channels, kChannels),
      stbi_image_free);
  if (pixels == nullptr) return std::nullopt;
  picture.pixels.assign(pixels.get(), pixels.get() + picture.extent.positions() * kChannels);
  return picture;
}

}  // namespace filterscope
