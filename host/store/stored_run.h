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

/// The place of an unscaled image: a row of a file that RunWriter wrote.
struct RawPlace {
  std::string file;  ///< Relative to the folder.
  int rows = 0;      ///< The file's rows.
  int row = 0;
};

/// The contents of a folder of results, whether its last run was finished, interrupted or killed.
struct StoredRun {
  std::filesystem::path folder;
  /// Includes the journal's entries. A filter whose picture is not there whole is missing. `complete` is as
  /// in the file.
  Manifest manifest;
  std::vector<std::vector<TracePoint>> traces;  ///< One per filter of the manifest.
  std::map<FilterId, RawPlace> images;          ///< Unscaled images that are there whole.
  std::map<FilterId, int> animations;           ///< Animations that are there whole: iterations per frame.
  /// Files that the manifest or the journal names and that are missing or not whole, relative to the folder.
  /// Only read_run() looks for them.
  std::vector<std::string> damaged;
  /// There are finished filters but no traces.csv: of their losses, only the first and the last remain.
  bool traces_lost = false;
};

/// Reads manifest.json, traces.csv and the journal, and checks which pictures, animations and unscaled images
/// are there. Empty if there is no manifest. A file that cannot be read is an input Error.
std::optional<StoredRun> read_run(const std::filesystem::path& folder, const Network& network);

/// The same without these checks: all files that the manifest and the journal name are assumed to be there.
std::optional<StoredRun> read_records(const std::filesystem::path& folder, const Network& network);

/// Throws an input Error for a folder in which those found no manifest, which says what is there instead.
[[noreturn]] void throw_no_run(const std::filesystem::path& folder);

/// The filters of `selection` (ascending) that `run` (null if there is none) lacks: missing ones, with
/// `keep_images` also those without an unscaled image, and with `frame_every` those without an animation
/// whose frames are that many iterations apart.
std::vector<FilterId> unfinished(const std::vector<FilterId>& selection, const StoredRun* run,
                                 bool keep_images, int frame_every);

/// A picture of such a folder; an input Error if it cannot be read or has another extent.
RgbImage read_picture(const std::filesystem::path& folder, const std::string& file, Extent extent);

/// The result of rendering the filter in row `row` of the manifest, with its unscaled image and its frames if
/// they are there. An input Error if a file turns out to be damaged.
FilterResult read_result(const StoredRun& run, std::size_t row);

/// Lines of the journal, which read_records() reads. A filter's line follows that of its engine.
std::string journal_line(const EngineDescription& engine);
/// `raw` is the file of its unscaled image, if there is one; `seconds` is the time since the run began.
std::string journal_line(const FilterRecord& record, const std::vector<TracePoint>& trace,
                         const std::optional<RawRecord>& raw, double seconds, const Manifest& manifest);
/// For a file in which all unscaled images of a layer have been joined.
std::string journal_line(const RawRecord& joined, const Network& network);

}  // namespace filterscope
