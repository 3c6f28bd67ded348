#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "../output/png.h"
#include "../store/stored_run.h"

namespace filterscope {

/// Colour of a picture as a whole.
struct PictureColours {
  /// Angle of the mean colour in the plane of alpha = R - (G + B) / 2 and beta = sqrt(3) / 2 (G - B): degrees
  /// in [0, 360), red 0, green 120, blue 240. Noise, whose colours cancel, has little say in it.
  float hue = 0.f;
  float chroma = 0.f;    ///< Length of that mean colour, in 0..1; near 0 the hue means nothing.
  float contrast = 0.f;  ///< Standard deviation of the luma (Rec. 709, of the 8-bit values), in 0..0.5.
};
PictureColours colours_of(const Picture& picture);

enum class PictureState {
  none,     ///< The run has not made one.
  there,    ///< Read.
  missing,  ///< The manifest names a file that is not there.
  damaged,  ///< The file is no PNG file of the run's size.
};

/// What the page shows of a filter's picture.
struct PictureRecord {
  PictureState state = PictureState::none;
  PictureColours colours;
  Picture small;  ///< As scale_tile() gives it for `largest_small`; empty unless there or without it.
};

inline constexpr int kThumbnail = 128;     ///< Longest side of a picture in an atlas, in pixels.
inline constexpr int kAtlasColumns = 8;    ///< Pictures in a row of an atlas.
inline constexpr int kAtlasPictures = 64;  ///< In an atlas; a layer's last one may hold fewer.

/// Small versions of the pictures of one layer, row by row by ascending number.
struct LayerAtlases {
  int layer = 0;
  std::size_t first = 0;  ///< In the manifest's filters.
  std::size_t count = 0;  ///< Filters.
  /// One for each kAtlasPictures filters, relative to the page's folder; not written where none has a
  /// picture.
  std::vector<std::string> files;
};

struct PictureSurvey {
  Extent thumbnail{};                   ///< Of each picture in an atlas.
  std::vector<PictureRecord> pictures;  ///< Of each of the manifest's filters.
  std::vector<LayerAtlases> layers;     ///< Of those that the run selected from, ascending.
};

/// Reads all pictures of a run, on all cores, and writes atlases of them to page_folder / atlas_folder as
/// JPEG files, a few kilobytes for each picture: what a page can load without a wait. Keeps small pictures
/// whose sides are up to `largest_small`; none for 0.
PictureSurvey survey_pictures(const StoredRun& run, const std::filesystem::path& page_folder,
                              const std::string& atlas_folder, int largest_small = 0);

}  // namespace filterscope
