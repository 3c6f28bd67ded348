#pragma once

#include <span>
#include <string>

#include "run_folder.h"

namespace filterscope {

/// An SVG picture of the losses of one layer's filters over the steps: a thin line for each filter (dead ones
/// red), the median thick, the three highest named. Its colours follow the viewer's light or dark scheme.
/// `filters` are those of one layer in `run`, at least one.
std::string draw_curves(const RunFolder& run, std::span<const FilterEntry> filters);

}  // namespace filterscope
