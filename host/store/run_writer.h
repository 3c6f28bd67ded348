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

/// Writes what one run gives to a folder:
///   LAYER/LAYER_fNNNN.png   each picture, as soon as it is there
///   LAYER/LAYER_fNNNN.apng  the frames of the results that have any, as an animation
///   LAYER/sheet.png         all pictures of a layer, as soon as its last one is there
///   raw/LAYER.npy           the unscaled images, float32 [n, height, width, 3], of the results that have
///   one,
///                           ascending by filter
///   traces.csv              layer,filter,iteration,loss
///   manifest.json           how the results came about, and one record for each filter
/// and, while it works, journal.jsonl, in which every finished filter stands as soon as its picture is there,
/// and raw/LAYER_fNNNN.npy, its unscaled image until those of the layer are joined.
///
/// A run adds to what earlier ones left in the folder, provided that their settings were the same (see
/// differing_settings()): finished filters are not among remaining(), and the manifest, the traces and the
/// sheets cover old and new ones alike. It makes no difference whether the earlier run came to its end or was
/// killed at any moment. What an earlier run selected and did not finish is forgotten.
///
/// What is rendered again, with or without unscaled image and frames, keeps those that it had.
///
/// Threads of its own encode and write, so that the ascent goes on meanwhile; where none can be started,
/// add() does. Every file appears whole. No two processes write to a folder at the same time. Files of other
/// names are left alone.
class RunWriter {
 public:
  struct Options {
    bool keep_images = false;  ///< A filter without an unscaled image counts as not finished.
    int frame_every = 0;  ///< Unless 0: a filter without an animation of such frames counts as not finished.
    bool force = false;   ///< Forget what is in the folder. Its files stay until they are replaced.
    /// The ascent leaves the processors alone, as on a GPU: all but two encode.
    bool processors_free = false;
  };

  /// `run` says how the filters are going to be computed: describe_run(), and the command line. `selection`
  /// is ascending, each filter once (std::invalid_argument). Creates `folder`. A usage Error that names the
  /// differences when the folder holds results with other settings; an input Error when what it holds cannot
  /// be read; an output Error when it cannot be written or another process is writing there.
  RunWriter(std::filesystem::path folder, Manifest run, std::vector<FilterId> selection, Options options);
  /// Without finish(), what is still queued is dropped; a later run goes on from the journal.
  ~RunWriter();
  RunWriter(const RunWriter&) = delete;
  RunWriter& operator=(const RunWriter&) = delete;

  /// What of the selection was not there at the start, ascending.
  const std::vector<FilterId>& remaining() const;

  /// The folder held results and no traces.csv: of these filters' losses only the first and the last are
  /// left.
  bool traces_lost() const;

  /// Takes a result and returns at once, unless more than a fixed amount of memory waits to be written.
  /// `engine` computed it. Throws the first error of the writing threads, if there was one. Results may come
  /// in any order, each filter of remaining() at most once (std::invalid_argument).
  void add(FilterResult result, const EngineDescription& engine);

  /// Whether add() would take a result of so many bytes without a wait.
  bool has_room(std::size_t bytes) const;

  /// Waits until everything is written, then writes the sheets that are not up to date, manifest.json and
  /// traces.csv, whatever failed before. `seconds` is how long the run took so far, and `phases` where its
  /// time went as far as the caller knows; what finishing takes, and the phases finish, encode and write, are
  /// added here. Throws the first error, if there was one. Call it once, also after an interruption or a
  /// failed render.
  void finish(double seconds, const PhaseSeconds& phases = {});

  /// After finish(): what is in the folder now.
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
