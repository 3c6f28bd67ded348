#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "../output/png.h"
#include "../store/stored_run.h"

namespace filterscope {

/// The overall colour of a picture.
struct PictureColours {
  /// Angle of the mean colour in the plane of alpha = R - (G + B) / 2 and beta = sqrt(3) / 2 (G - B): degrees
  /// in [0, 360), red 0, green 120, blue 240. Noise has little influence, since its colours cancel.
  float hue = 0.f;
  float chroma = 0.f;    ///< Length of that mean colour, in 0..1; near 0 the hue is meaningless.
  float contrast = 0.f;  ///< Standard deviation of the luma (Rec. 709, of the 8-bit values), in 0..0.5.
};
PictureColours colours_of(const RgbImage& picture);

enum class PictureState {
  none,     ///< The filter is unfinished.
  there,    ///< It was read.
  missing,  ///< The manifest names a file that does not exist.
  damaged,  ///< The file is not a PNG file of the run's size.
};

/// What is known of a filter's picture.
struct PictureRecord {
  PictureState state = PictureState::none;
  PictureColours colours;
  RgbImage small;  ///< By scale_tile() with `largest_small`; empty if that is 0 or the picture is not there.
};

inline constexpr int kThumbnail = 128;     ///< Longest side of a picture in an atlas, in pixels.
inline constexpr int kAtlasColumns = 8;    ///< Pictures in a row of an atlas.
inline constexpr int kAtlasPictures = 64;  ///< Pictures in an atlas; a layer's last one may hold fewer.

/// Small versions of the pictures of one layer, row by row in the order of their numbers.
struct LayerAtlases {
  int layer = 0;
  std::size_t first = 0;  ///< Row of its first filter in the manifest.
  std::size_t count = 0;  ///< Filters.
  /// One per kAtlasPictures filters, relative to the page's folder; not written if none of them has a
  /// picture.
  std::vector<std::string> files;
};

struct PictureSurvey {
  Extent thumbnail{};                   ///< Size of each picture in an atlas.
  std::vector<PictureRecord> pictures;  ///< One per filter of the manifest.
  std::vector<LayerAtlases> layers;     ///< The layers with filters in the manifest, ascending.
};

/// Reads all pictures of a run, on all cores, and writes atlases of them to page_folder / atlas_folder as
/// JPEG files with a few kilobytes per picture, which a page loads quickly. Keeps small pictures whose sides
/// are at most `largest_small`; none if that is 0.
PictureSurvey survey_pictures(const StoredRun& run, const std::filesystem::path& page_folder,
                              const std::string& atlas_folder, int largest_small = 0);

}  // namespace filterscope
