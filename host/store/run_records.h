#pragma once

#include <cstddef>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "../run/engine_description.h"
#include "../run/filter_result.h"
#include "../run/selection.h"
#include "manifest.h"
#include "stored_run.h"

namespace filterscope {

/// What RunWriter knows of a folder: the results of earlier runs and of its own.
struct RunRecords {
  Manifest manifest;
  std::vector<std::vector<TracePoint>> traces;  ///< One per row of manifest.filters.
  std::vector<bool> selected;                   ///< One per row of manifest.filters.
  std::vector<FilterId> remaining;              ///< Selected and not finished at the start; ascending.
  std::map<FilterId, RawPlace> images;          ///< Unscaled images.
  std::map<FilterId, int> animations;           ///< Those of earlier runs: iterations per frame.
  bool traces_lost = false;                     ///< As in StoredRun.

  /// The row of a filter that is in the manifest.
  std::size_t row_of(FilterId id) const;
};

/// The records of a run that begins: `run` as in RunWriter's constructor, continued from what `before` (null
/// if the folder holds nothing) has. Throws a usage Error that names the settings that differ between both.
RunRecords begin_records(Manifest run, const std::vector<FilterId>& selection, const StoredRun* before,
                         bool keep_images, int frame_every);

/// traces.csv: layer,filter,iteration,loss
std::string traces_text(const RunRecords& records);

/// Removes what killed runs left: temporary files, and unscaled images that were finished but not yet in the
/// journal, or joined but not yet removed.
void remove_remains(const std::filesystem::path& folder, const RunRecords& records);

}  // namespace filterscope
