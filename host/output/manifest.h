#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "../engine.h"
#include "../network.h"
#include "../recipe.h"
#include "../selection.h"
#include "../weights.h"

namespace filterscope {

/// What the manifest tells of one selected filter.
struct FilterRecord {
  FilterId id{};
  std::optional<FilterStatus> status;  ///< Nothing: missing; the other fields are then not used.
  int iterations = 0;
  float first_loss = 0.f;
  float final_loss = 0.f;
  float last_gradient_norm = 0.f;
  std::string file;  ///< The picture, relative to the manifest.
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
  std::string path;  ///< Empty: no file.
  WeightsKind kind = WeightsKind::synthetic;
  std::string sha256;
  InputMapping natural_input;
};

/// What manifest.json says of a run.
struct Manifest {
  std::string command_line;
  std::chrono::system_clock::time_point started;
  Network network;
  WeightsRecord weights;
  Recipe recipe;
  Extent extent{};
  std::uint64_t seed = 0;
  int trace_every = 0;    ///< As used.
  std::string init_file;  ///< Start images instead of noise; empty: none.
  bool reproducible = false;

  std::optional<EngineDescription> engine;  ///< Nothing before the run is over.
  std::optional<double> wall_seconds;       ///< Likewise.
  bool complete = false;                    ///< Every selected filter is there.

  std::vector<FilterRecord> filters;  ///< All selected, ascending.
  std::vector<RawRecord> raw;         ///< Ascending by layer.
};

/// The file: UTF-8, members in a fixed order, one filter to a line so that runs can be compared line by line.
/// Values that are not finite, or not known, are null.
std::string to_json(const Manifest& manifest);

}  // namespace filterscope
