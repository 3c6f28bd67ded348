#pragma once

#include <chrono>
#include <cstddef>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "../engine.h"
#include "../network.h"
#include "../recipe.h"
#include "../selection.h"
#include "../weights.h"

namespace filterscope {

/// How a run was asked for, for its manifest.
struct RunContext {
  std::string command_line;
  std::string init_file;  ///< The --init file; empty: none.
  std::chrono::system_clock::time_point started = std::chrono::system_clock::now();
};

/// How a run went, for its manifest.
struct RunSummary {
  EngineDescription engine;
  double wall_seconds = 0;
  bool interrupted = false;  ///< Stopped by the user or by an error.
};

/// Writes what one run gives to a folder:
///   LAYER/LAYER_fNNNN.png   each picture, as soon as it is there
///   LAYER/sheet.png         all pictures of a layer, as soon as its last one is there
///   raw/LAYER.npy           with keep_images: the unscaled images, float32 [n, height, width, 3], ascending
///   by filter traces.csv              layer,filter,iteration,loss manifest.json           how the run was
///   done, and one record for each selected filter
///
/// Threads of its own encode and write, so that the ascent goes on meanwhile. Every file appears whole. Files
/// of the same name are replaced and other files stay: after a second run into the same folder, pictures that
/// the manifest does not name are those of an earlier run. The manifest and the traces are replaced at the
/// start (by ones that say that everything is missing) and again at the end, so that they never speak of an
/// earlier run.
class RunWriter {
 public:
  /// Creates `folder`; if that or writing there fails, an output Error. `selection` is ascending, each filter
  /// once. Copies what it needs; keeps no reference.
  RunWriter(std::filesystem::path folder, const Network& network, const Weights& weights,
            const Recipe& recipe, const RenderOptions& options, std::vector<FilterId> selection,
            RunContext context = {});
  /// Without finish(), what is still queued is dropped and the manifest stays the one of the start.
  ~RunWriter();
  RunWriter(const RunWriter&) = delete;
  RunWriter& operator=(const RunWriter&) = delete;

  /// Takes a result and returns at once, unless more than a fixed amount of memory waits to be written.
  /// Throws the first error of the writing threads, if there was one. Results may come in any order, each
  /// filter of the selection at most once (std::invalid_argument).
  void add(FilterResult result);

  /// Waits until everything is written, then writes the sheets of layers of which some filters are missing,
  /// traces.csv and manifest.json, whatever failed before. Throws the first error, if there was one. Call it
  /// once, also after an interruption or a failed render.
  void finish(const RunSummary& summary);

  /// After finish(): filters by outcome, for the user.
  struct Counts {
    int ok = 0;
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
