#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <vector>

#include "../base/atomic_file.h"
#include "../base/extent.h"
#include "../base/initial_images.h"

namespace filterscope {

/// Writes a float32 array [rows, height, width, 3] to a .npy file (format 1.0, little-endian, C order) image
/// by image, so that only one image is in memory. Failures are output Errors.
class NpyImageWriter {
 public:
  /// The file will have exactly `rows` images of `extent`.
  NpyImageWriter(std::filesystem::path path, int rows, Extent extent);

  /// Writes the next image, row-major [height, width, 3]. Throws std::invalid_argument for another size.
  void append(std::span<const float> image);

  /// Gives the file its name. Throws std::logic_error if the number of images is wrong.
  void finish();

 private:
  AtomicFile file_;
  int rows_;
  Extent extent_;
  int written_ = 0;
};

/// Whether the file has the header and the size of a file that NpyImageWriter wrote for `rows` images.
bool holds_images(const std::filesystem::path& path, std::int64_t rows, Extent extent);

/// Image `row`, row-major [height, width, 3], of a file that NpyImageWriter wrote for `rows` images; an input
/// Error if it is not such a file or cannot be read.
std::vector<float> read_image(const std::filesystem::path& path, int rows, int row, Extent extent);

/// Reads start images from a .npy file (format 1.0 to 3.0): float32 [height, width, 3] or [n, height, width,
/// 3], little-endian, C order, every value finite. Anything else is an input Error that names the file, what
/// was expected and what was found. Safe for untrusted files.
InitialImages read_initial_images(const std::filesystem::path& path);

}  // namespace filterscope
