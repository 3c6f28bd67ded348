#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "../model/network.h"
#include "../output/png.h"
#include "../run/filter_result.h"
#include "../run/selection.h"
#include "manifest.h"

namespace filterscope {

/// Where an unscaled image is: a row of a file that RunWriter wrote.
struct RawPlace {
  std::string file;  ///< Relative to the folder.
  int rows = 0;      ///< Of the file.
  int row = 0;
};

/// What a folder of results holds, whether its last run came to its end, was interrupted, or was killed.
struct StoredRun {
  std::filesystem::path folder;
  /// With what the journal tells of. A filter whose picture is not there whole is missing. `complete` is as
  /// in the file.
  Manifest manifest;
  std::vector<std::vector<TracePoint>> traces;  ///< Of each of manifest.filters.
  std::map<FilterId, RawPlace> images;          ///< Unscaled ones that are there whole.
  std::map<FilterId, int> animations;  ///< Those that are there whole: iterations between their frames.
  /// Files that the manifest or the journal tells of and that are absent or not whole, relative to the
  /// folder. Only from read_run().
  std::vector<std::string> damaged;
  /// Filters are finished and traces.csv is not there: of their losses only the first and the last are left.
  bool traces_lost = false;
};

/// Reads manifest.json, traces.csv and the journal, and looks whether the pictures are there. Nothing where
/// there is no manifest. A file that cannot be read is an input Error.
std::optional<StoredRun> read_run(const std::filesystem::path& folder, const Network& network);

/// The same without a look at the pictures, animations and unscaled images: what the manifest and the journal
/// say is there, is taken to be there.
std::optional<StoredRun> read_records(const std::filesystem::path& folder, const Network& network);

/// For a folder in which those found no manifest: an input Error that says what is there instead.
[[noreturn]] void throw_no_run(const std::filesystem::path& folder);

/// Of `selection` (ascending), what `run` (nothing there: null) lacks: filters that are missing, with
/// `keep_images` those without an unscaled image, and with `frame_every` those without an animation of frames
/// that many iterations apart.
std::vector<FilterId> unfinished(const std::vector<FilterId>& selection, const StoredRun* run,
                                 bool keep_images, int frame_every);

/// A picture of such a folder; an input Error when it cannot be read or has another extent.
Picture read_picture(const std::filesystem::path& folder, const std::string& file, Extent extent);

/// All that rendering the filter of row `row` of the manifest gave, with its unscaled image and its frames
/// where they are there. An input Error when a file turns out to be damaged.
FilterResult read_result(const StoredRun& run, std::size_t row);

/// Lines of the journal, as read_run() understands them. A filter's line comes after that of its engine.
std::string journal_line(const EngineDescription& engine);
/// `raw`: the file of its unscaled image, if there is one. `seconds`: since the run began.
std::string journal_line(const FilterRecord& record, const std::vector<TracePoint>& trace,
                         const std::optional<RawRecord>& raw, double seconds, const Manifest& manifest);
/// A layer's unscaled images are all in this file now.
std::string journal_line(const RawRecord& joined, const Network& network);

}  // namespace filterscope
