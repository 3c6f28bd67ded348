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

/// What the manifest tells of one selected filter.
struct FilterRecord {
  FilterId id{};
  std::optional<FilterStatus> status{};  ///< Nothing: missing; the other fields are then not used.
  int iterations = 0;
  float first_loss = 0.f;
  float final_loss = 0.f;
  float last_gradient_norm = 0.f;
  int rescued_iterations = 0;  ///< As FilterResult has it, and so alive_from.
  int alive_from = 0;
  std::string file{};      ///< The picture, relative to the manifest.
  std::size_t engine = 0;  ///< What rendered it, as an index to Manifest::engines.
  int frame_every = 0;     ///< Iterations between the frames of its animation; 0: it has none.
};

/// One .npy file of unscaled images.
struct RawRecord {
  int layer = 0;
  std::string file;          ///< Relative to the manifest.
  std::vector<int> filters;  ///< Of each row.
};

/// Of Weights, all but the values.
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
  std::string filters;  ///< As selectors: whose start images they are, in ascending order. Empty: one image
                        ///< for every filter.
};

/// Results of two versions of the program go together, in one folder or one merge, if this number is the
/// same. It changes when the same settings give other pictures.
inline constexpr int kResults = 1;

/// What manifest.json says of the results in a folder: one run's, or those of several that had the same
/// settings.
struct Manifest {
  std::string version;                            ///< Of the program.
  int results = kResults;                         ///< What its results count as.
  std::vector<std::string> command_lines;         ///< Of each run, in order, each once.
  std::chrono::system_clock::time_point started;  ///< The first of them.
  Network network;
  WeightsRecord weights;
  Recipe recipe;
  Extent extent{};
  std::uint64_t seed = 0;
  int trace_every = 0;             ///< As used.
  std::optional<InitRecord> init;  ///< Nothing: noise.
  bool reproducible = false;

  /// What computed: at least one, all of one kind of device and one precision. Plans that were used since the
  /// last finished filter may not be there yet while a run goes on.
  std::vector<EngineDescription> engines;
  double wall_seconds = 0;  ///< Of all runs together.
  PhaseSeconds phases{};    ///< Of all runs together but those that were killed.
  bool complete = false;    ///< Every selected filter is there.

  std::vector<FilterRecord> filters;  ///< All that are there and all that were last selected; ascending.
  std::vector<RawRecord> raw;         ///< Ascending by layer, then by file. A filter is in one of them.
};

/// The manifest of a run that begins now: no filters, no command line, no start images.
Manifest describe_run(const Network& network, const Weights& weights, const Recipe& recipe,
                      const RenderOptions& options, const EngineDescription& engine);

/// The name of the file of start images, without its folders.
std::string start_file_name(const InitRecord& init);

/// How the pictures were made, for a reader: "recipe seed, 500 iterations, 96 x 96 pixels, seed 0, weights
/// NAME"; with start images "started from FILE" in place of the seed.
std::string recipe_text(const Manifest& manifest);

/// The file: UTF-8, members in a fixed order, one filter to a line so that runs can be compared line by line.
/// Values that are not finite, or not known, are null.
std::string to_json(const Manifest& manifest);

/// Thrown for a manifest.json that this program did not write.
class AnothersManifest : public std::invalid_argument {
 public:
  using std::invalid_argument::invalid_argument;
};

/// Reads what to_json() wrote, for `network`. Numbers that were not finite come back as NaN. Throws
/// std::invalid_argument for anything else, AnothersManifest for another program's; the message says what is
/// wrong.
Manifest parse_manifest(std::string_view text, const Network& network);

/// Adds a command line that is not there yet.
void add_command_line(Manifest& manifest, const std::string& command_line);

/// The engine of `manifest` that is `engine` but for the plans, which are added to its own; where there is
/// none, `engine` is added. Returns its index.
std::size_t add_engine(Manifest& manifest, const EngineDescription& engine);

/// A setting of two runs whose results therefore do not belong together.
struct SettingDifference {
  std::string name;  ///< The flag, or what else it is.
  std::string first;
  std::string second;
};
/// All settings that differ. Settings are what a filter's result depends on: version of the program, network,
/// weights (by their SHA-256), every value of the recipe, size, seed, start images, how often losses are
/// recorded, kind of device, precision, and whether the run is reproducible. Not among them are the
/// selection, --raw, --animate, batch, threads, and the device itself.
std::vector<SettingDifference> differing_settings(const Manifest& first, const Manifest& second);

}  // namespace filterscope
