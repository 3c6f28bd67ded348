#pragma once

#include <filesystem>
#include <vector>

namespace filterscope {

/// How many filters a gallery shows.
struct GalleryCounts {
  int filters = 0;           ///< Selected by the runs; two runs' filters count once each.
  int missing_pictures = 0;  ///< Named by a manifest, but not there or not readable.
  /// Folders with finished filters and no traces.csv: curves have the first and the last loss.
  std::vector<std::filesystem::path> without_traces;
};

/// Writes into the folder of a run, from its manifest.json, traces.csv and pictures:
///   index.html           a page to look through all pictures, which needs neither server nor network
///   gallery/LAYER_N.jpg  small versions of the pictures, for that page
///   LAYER/curves.svg     the losses of all filters of a layer
///   poster.png           all filters of the network, a strip for each layer
/// Whatever cannot be read is an input Error, as read_records() has it; a picture that is missing or damaged
/// is shown as such. Whatever cannot be written is an output Error.
GalleryCounts write_gallery(const std::filesystem::path& folder);

/// Writes index.html into `out`, showing two runs of the same network side by side, with its small pictures
/// in out/gallery/. Refers to the runs' folders by relative paths. Errors as above; runs of different
/// networks are an input Error.
GalleryCounts write_comparison(const std::filesystem::path& first, const std::filesystem::path& second,
                               const std::filesystem::path& out);

}  // namespace filterscope
