#pragma once

#include <cstddef>
#include <filesystem>
#include <memory>
#include <vector>

#include "../run/engine_description.h"
#include "../run/filter_result.h"
#include "../run/selection.h"
#include "manifest.h"

namespace filterscope {

/// Writes the results of one run to a folder:
///   LAYER/LAYER_fNNNN.png   each picture, as soon as it is ready
///   LAYER/LAYER_fNNNN.apng  the frames of results that have any, as an animation
///   LAYER/sheet.png         all pictures of a layer, once its last one is ready
///   raw/LAYER.npy           the unscaled images, float32 [n, height, width, 3], of results that have one,
///                           ascending by filter
///   traces.csv              layer,filter,iteration,loss
///   manifest.json           how the results came about, and one record per filter
/// and, during the run, journal.jsonl, in which every finished filter is entered once its picture is written,
/// and raw/LAYER_fNNNN.npy, its unscaled image until those of the layer are joined.
///
/// A run adds to the results of earlier ones in the folder, if their settings were the same (see
/// differing_settings()): finished filters are not among remaining(), and the manifest, the traces and the
/// sheets cover both. It does not matter whether the earlier run was finished or was killed at any point.
/// Filters that an earlier run selected but did not finish are forgotten.
///
/// A filter that is rendered again without unscaled image or frames keeps those that it had.
///
/// Its own threads encode and write, so that the ascent continues meanwhile; if none can be started, add()
/// does. Every file appears whole. No two processes write to a folder at the same time. Files with other
/// names are left alone.
class RunWriter {
 public:
  struct Options {
    bool keep_images = false;  ///< A filter without an unscaled image counts as unfinished.
    int frame_every = 0;  ///< Unless 0, a filter without an animation of such frames counts as unfinished.
    bool force = false;   ///< Forget what is in the folder. Its files remain until they are replaced.
    /// The ascent does not use the processors, as on a GPU: all but two encode.
    bool processors_free = false;
  };

  /// `run` says how the filters will be computed: describe_run(), and the command line. `selection` is
  /// ascending, without duplicates (std::invalid_argument). Creates `folder`. If it holds results with other
  /// settings, a usage Error names the differences; if these cannot be read, an input Error; if the folder
  /// cannot be written or another process is writing there, an output Error.
  RunWriter(std::filesystem::path folder, Manifest run, std::vector<FilterId> selection, Options options);
  /// Without finish(), queued results are dropped; a later run continues from the journal.
  ~RunWriter();
  RunWriter(const RunWriter&) = delete;
  RunWriter& operator=(const RunWriter&) = delete;

  /// The filters of the selection that were not finished at the start, ascending.
  const std::vector<FilterId>& remaining() const;

  /// The folder held results but no traces.csv: of their losses, only the first and the last remain.
  bool traces_lost() const;

  /// Takes a result, which `engine` computed, and returns at once, unless more than a fixed amount of memory
  /// waits to be written. Throws the first error of the writing threads, if there was one. Results may come
  /// in any order, each filter of remaining() at most once (std::invalid_argument).
  void add(FilterResult result, const EngineDescription& engine);

  /// Whether add() would take a result of so many bytes without waiting.
  bool has_room(std::size_t bytes) const;

  /// Waits until everything is written, then writes the sheets that are not up to date, manifest.json and
  /// traces.csv, even after errors. `seconds` is how long the run took so far, and `phases` how it spent that
  /// time as far as the caller knows; the time for finishing, and the phases finish, encode and write, are
  /// added here. Throws the first error, if there was one. Call it once, also after an interruption or a
  /// failed render.
  void finish(double seconds, const PhaseSeconds& phases = {});

  /// After finish(): the manifest in the folder.
  const Manifest& manifest() const;

  /// After finish(): the filters of the selection by outcome.
  struct Counts {
    int ok = 0;
    int rescued = 0;
    int missing = 0;
    std::vector<FilterId> dead;
    std::vector<FilterId> nonfinite;
  };
  Counts counts() const;

 private:
  class Implementation;
  std::unique_ptr<Implementation> implementation_;
};

}  // namespace filterscope
