#pragma once

#include <cstdint>
#include <filesystem>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "../engine.h"
#include "../network.h"
#include "../selection.h"

namespace filterscope {

/// What a run's folder tells of one selected filter.
struct FilterEntry {
  static constexpr float kUnknown = std::numeric_limits<float>::quiet_NaN();

  FilterId id{};
  std::uint64_t seed = 0;
  std::optional<FilterStatus> status;  ///< Nothing: missing; the other fields are then not used.
  int iterations = 0;
  float first_loss = kUnknown;
  float final_loss = kUnknown;
  float gradient_norm = kUnknown;  ///< Of the last gradient, before its normalisation.
  std::string file;                ///< The picture, relative to the folder and within it.
  std::vector<TracePoint> trace;   ///< Ascending by iteration; empty where traces.csv has none.
};

/// The loss that a filter had after so many steps.
struct CurvePoint {
  int steps;
  float loss;
};

/// From the initial image (no steps) to the finished one, ascending; empty where the filter is missing.
/// Iteration i of the trace comes before its step, so after i - 1 steps.
std::vector<CurvePoint> loss_curve(const FilterEntry& entry);

/// A finished or interrupted run, read back from what RunWriter wrote.
struct RunFolder {
  std::filesystem::path folder;
  std::string version;       ///< Of the program that made it.
  std::string command_line;  ///< Of several runs into the folder, separated by semicolons.
  std::string started;       ///< ISO 8601, UTC.
  bool complete = false;
  Network network;
  std::string weights_name;
  std::string weights_sha256;  ///< Empty: unknown.
  bool synthetic = false;      ///< The weights are a stand-in that was never trained.
  std::string recipe_name;
  std::string recipe_json;  ///< The manifest's record of the recipe, a JSON object.
  Extent extent{};          ///< Of the pictures.
  int iterations = 0;
  std::uint64_t seed = 0;
  std::string device;  ///< Of several ones, separated by commas, as their names.
  std::string device_name;
  std::string precision;
  std::optional<double> wall_seconds;
  std::vector<FilterEntry> filters;  ///< Ascending by id, each once.
  bool traced = false;               ///< traces.csv was there.
};

/// Reads manifest.json and, if there, traces.csv of `folder`. An input Error names the file and what is wrong
/// with it: no such folder, no manifest, not a manifest of this program, a member missing or of another type,
/// a filter that the network does not have, a picture outside the folder, a line that is no trace.
RunFolder read_run_folder(const std::filesystem::path& folder);

}  // namespace filterscope
