#pragma once

#include <string>

#include "../model/network.h"
#include "../run/selection.h"

namespace filterscope {

/// The names of the files in a folder of results, relative to it.

inline constexpr const char* kManifestFile = "manifest.json";
inline constexpr const char* kTracesFile = "traces.csv";
inline constexpr const char* kTracesHeader = "layer,filter,iteration,loss";  ///< Its first line.
/// What was finished since the manifest was written; exists only during a run, and after it was killed.
inline constexpr const char* kJournalFile = "journal.jsonl";
inline constexpr const char* kRawFolder = "raw";
/// Written by host/gallery: the page, the folder of its small pictures, and the poster.
inline constexpr const char* kPageFile = "index.html";
inline constexpr const char* kGalleryFolder = "gallery";
inline constexpr const char* kPosterFile = "poster.png";

/// The folder of a layer's pictures: the layer's name, made safe for a path.
std::string layer_folder(const Network& network, int layer);
std::string picture_file(const Network& network, FilterId id);
/// The filter's ascent as an animated PNG.
std::string animation_file(const Network& network, FilterId id);
std::string sheet_file(const Network& network, int layer);
/// A layer's losses, drawn by host/gallery.
std::string curves_file(const Network& network, int layer);
/// A layer's unscaled images.
std::string raw_file(const Network& network, int layer);
/// One unscaled image, until those of its layer are joined in raw_file().
std::string raw_image_file(const Network& network, FilterId id);

}  // namespace filterscope
