#pragma once

#include <cstdint>
#include <filesystem>
#include <mutex>
#include <span>
#include <vector>

#include "../engine.h"
#include "../network.h"
#include "atomic_file.h"

namespace filterscope {

/// A float32 array [n, height, width, 3] written to a .npy file (format 1.0, little-endian, C order) image by
/// image, in any order, so that no more than one image is in memory. Images that were never written are left
/// out of the file.
///
/// write() may be called from several threads at once, for different rows. Failures are output Errors.
class NpyImageWriter {
 public:
  /// For at most `rows` images of `extent`.
  NpyImageWriter(std::filesystem::path path, int rows, Extent extent);

  /// Image `row`, row-major [height, width, 3]. Throws std::invalid_argument for another size or row.
  void write(int row, std::span<const float> image);

  /// The rows written so far, ascending: after finish(), the file's first axis.
  std::vector<int> written() const;

  /// Gives the file its name, holding the images written, in ascending order of row.
  void finish();

 private:
  std::uint64_t offset(int row) const;

  AtomicFile file_;
  Extent extent_;
  mutable std::mutex mutex_;   ///< Guards written_.
  std::vector<bool> written_;  ///< By row.
};

/// Start images from a .npy file (format 1.0 to 3.0): float32 [height, width, 3] or [n, height, width, 3],
/// little-endian, C order, every value finite. Anything else, whatever the bytes, is an input Error that
/// names the file, what was expected and what was found.
InitialImages read_initial_images(const std::filesystem::path& path);

}  // namespace filterscope
