#pragma once

#include <string>
#include <utility>
#include <vector>

#include "precision.h"

namespace filterscope {

/// Name and version of each.
using Libraries = std::vector<std::pair<std::string, std::string>>;

/// How an engine computes, for the manifest and the user.
struct EngineDescription {
  std::string device;  ///< "cpu" or "cuda:N".
  std::string device_name;
  Precision precision = Precision::fp32;
  int threads = 0;
  Libraries libraries;
  /// The plans used so far, each identified by what fixes its bits: batch layout, and per layer and direction
  /// the algorithm. Empty before the first batch.
  std::vector<std::string> plans;

  bool operator==(const EngineDescription&) const = default;
};

}  // namespace filterscope
