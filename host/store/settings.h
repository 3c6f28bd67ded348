#pragma once

#include <string>
#include <vector>

#include "manifest.h"

namespace filterscope {

/// A setting that differs between two runs, so that their results do not belong together.
struct SettingDifference {
  std::string name;  ///< The flag, or a description.
  std::string first;
  std::string second;
};

/// All settings that differ. Settings are what a filter's result depends on: kResults, network, weights (by
/// their SHA-256) and how they are read, every value of the recipe, seed, start images, how often
/// losses are recorded, kind of device, precision, and whether the run is reproducible. Not among them are
/// the selection, --raw, --animate, batch, threads, and the device itself.
std::vector<SettingDifference> differing_settings(const Manifest& first, const Manifest& second);

}  // namespace filterscope
