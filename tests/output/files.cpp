#include "files.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <iterator>

#define STB_IMAGE_IMPLEMENTATION
#define STB_IMAGE_STATIC
#define STBI_ONLY_JPEG
#define STBI_ONLY_PNG
#include <stb_image.h>

namespace filterscope {

std::string read_text(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  EXPECT_TRUE(file) << path;
  return {std::istreambuf_iterator<char>(file), {}};
}

void write_text(const std::filesystem::path& path, const std::string& text) {
  std::ofstream file(path, std::ios::binary);
  file << text;
  EXPECT_TRUE(file.flush()) << path;
}

std::vector<std::string> files_below(const std::filesystem::path& folder) {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder))
    if (!entry.is_directory()) names.push_back(entry.path().lexically_relative(folder).string());
  std::ranges::sort(names);
  return names;
}

RgbImage decode_png(const std::filesystem::path& path) {
  RgbImage picture;
  int channels = 0;
  stbi_uc* pixels = stbi_load(path.c_str(), &picture.extent.width, &picture.extent.height, &channels, 0);
  EXPECT_NE(pixels, nullptr) << path << ": " << stbi_failure_reason();
  if (pixels == nullptr) return {};
  EXPECT_EQ(channels, 3);
  picture.pixels.assign(pixels, pixels + picture.extent.positions() * channels);
  stbi_image_free(pixels);
  return picture;
}

RgbImage decode_jpeg(const std::filesystem::path& path) {
  return decode_png(path);  // It recognises the format by the content.
}

std::string error_of(ErrorKind kind, const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), kind) << error.what();
    return error.what();
  }
  ADD_FAILURE() << "no error";
  return {};
}

}  // namespace filterscope
