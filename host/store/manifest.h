#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "../ascent/recipe.h"
#include "../model/network.h"
#include "../model/weights/weights.h"
#include "../run/engine_description.h"
#include "../run/filter_result.h"
#include "../run/phases.h"
#include "../run/render_options.h"
#include "../run/selection.h"

namespace filterscope {

/// The manifest's record of one filter.
struct FilterRecord {
  FilterId id{};
  std::optional<FilterStatus> status{};  ///< Empty: missing; the other fields are then unused.
  int iterations = 0;
  float first_loss = 0.f;
  float final_loss = 0.f;
  float last_gradient_norm = 0.f;
  int rescued_iterations = 0;  ///< As in FilterResult, like alive_from.
  int alive_from = 0;
  int range = 0;           ///< As in FilterResult.
  std::string file{};      ///< The picture, relative to the manifest.
  std::size_t engine = 0;  ///< The engine that rendered it: an index into Manifest::engines.
  int frame_every = 0;     ///< Iterations between the frames of its animation; 0: it has none.
};

/// One .npy file of unscaled images.
struct RawRecord {
  int layer = 0;
  std::string file;          ///< Relative to the manifest.
  std::vector<int> filters;  ///< One per row.
};

/// Weights without the values.
struct WeightsRecord {
  std::string name;
  std::string path;  ///< Absolute. Empty: no file.
  WeightsKind kind = WeightsKind::synthetic;
  std::string sha256;  ///< Empty: no file.
  std::optional<InputMapping> natural_input = std::nullopt;
  std::vector<std::string> conversions = {};
  std::vector<std::string> notes = {};
};

/// Start images instead of noise.
struct InitRecord {
  std::string file;  ///< Absolute.
  std::string sha256;
  std::string filters;  ///< Selectors of the filters that the images belong to, in ascending order. Empty:
                        ///< one image for every filter.
};

/// Results of two versions of the program may share a folder or a merge if this number is the same. It
/// changes when the same settings give other pictures.
inline constexpr int kResults = 1;

/// The contents of manifest.json: how the results in a folder, of one run or of several with the same
/// settings, came about.
struct Manifest {
  std::string version;                            ///< The program's version.
  int results = kResults;                         ///< kResults of that version.
  std::vector<std::string> command_lines;         ///< Those of all runs, in order, without duplicates.
  std::chrono::system_clock::time_point started;  ///< The first of them.
  Network network;
  WeightsRecord weights;
  Recipe recipe;  ///< With the input mapping that was used, not auto_mapping().
  std::uint64_t seed = 0;
  int trace_every = 0;             ///< As used.
  std::optional<InitRecord> init;  ///< Empty: noise.
  bool reproducible = false;

  /// At least one; all have the same kind of device and the same precision. During a run, plans used since
  /// the last finished filter may be missing.
  std::vector<EngineDescription> engines;
  double wall_seconds = 0;  ///< Sum over all runs.
  PhaseSeconds phases{};    ///< Sum over all runs except killed ones.
  bool complete = false;    ///< Every selected filter is finished.

  std::vector<FilterRecord> filters;  ///< All finished ones and the last selection; ascending.
  std::vector<RawRecord> raw;         ///< Ascending by layer, then file. A filter is in at most one.
};

/// The manifest of a run that begins now, without filters, command line and start images. The recipe has its
/// input mapping already, see with_input_of().
Manifest describe_run(const Network& network, const Weights& weights, const Recipe& recipe,
                      const RenderOptions& options, const EngineDescription& engine);

/// The name of the file of start images, without its folders.
std::string start_file_name(const InitRecord& init);

/// How the pictures were made, in words: "recipe seed, 500 iterations, 96 x 96 pixels, seed 0, weights NAME";
/// with start images, "started from FILE" replaces the seed.
std::string recipe_text(const Manifest& manifest);

/// The text of the file: UTF-8, members in a fixed order, one filter per line so that runs can be compared
/// line by line. Values that are not finite, or not known, are null.
std::string to_json(const Manifest& manifest);

/// Thrown for a manifest.json of another program.
class ForeignManifest : public std::invalid_argument {
 public:
  using std::invalid_argument::invalid_argument;
};

/// The inverse of to_json(), for `network`. Numbers that were not finite become NaN. Throws ForeignManifest
/// for another program's file and std::invalid_argument for anything else; the message says what is wrong.
Manifest parse_manifest(std::string_view text, const Network& network);

/// Adds a command line unless it is there already.
void add_command_line(Manifest& manifest, const std::string& command_line);

/// Adds `engine`. If the manifest already has it except for some plans, only those are added to it. Returns
/// the engine's index.
std::size_t add_engine(Manifest& manifest, const EngineDescription& engine);

}  // namespace filterscope
