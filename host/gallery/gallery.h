#pragma once

#include <filesystem>
#include <vector>

namespace filterscope {

/// What a gallery shows.
struct GalleryCounts {
  int filters = 0;           ///< Filters of all runs together.
  int missing_pictures = 0;  ///< Named by a manifest, but missing or not readable.
  /// Folders with finished filters but without traces.csv: curves have only the first and the last loss.
  std::vector<std::filesystem::path> without_traces;
};

/// Writes to the folder of a run, from its manifest.json, traces.csv and pictures:
///   index.html           a page to look through all pictures, which needs neither server nor network
///   gallery/LAYER_N.jpg  small versions of the pictures, for that page
///   LAYER/curves.svg     the losses of all filters of a layer
///   poster.png           all filters, one strip per layer
/// Throws input Errors as read_records() does, and an output Error for a file that cannot be written.
/// Pictures that are missing or damaged are shown as such.
GalleryCounts write_gallery(const std::filesystem::path& folder);

/// Writes index.html to `out`, which shows two runs of the same network side by side, with its small pictures
/// in out/gallery/. It refers to the runs' folders by relative paths. Errors are as above; runs of different
/// networks are an input Error.
GalleryCounts write_comparison(const std::filesystem::path& first, const std::filesystem::path& second,
                               const std::filesystem::path& out);

}  // namespace filterscope
