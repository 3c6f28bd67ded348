#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "../store/stored_run.h"

namespace filterscope {

/// The loss that a filter had after so many steps.
struct CurvePoint {
  int steps;
  float loss;
};

/// From the initial image (no steps) to the finished one, ascending; empty where the filter is missing. `row`
/// is that of the manifest. Iteration i of a trace comes before its step, so after i - 1 steps.
std::vector<CurvePoint> loss_curve(const StoredRun& run, std::size_t row);

/// Points that a curve is drawn with at most; longer ones are thinned evenly. traces.csv has all.
inline constexpr std::size_t kCurvePoints = 128;

/// An SVG picture of the losses of one layer's filters over the steps: a thin line for each filter (dead ones
/// red), the median thick, the three highest named. Its colours follow the viewer's light or dark scheme. The
/// filters are `count` rows of the manifest from `first` on, all of one layer; at least one.
std::string draw_curves(const StoredRun& run, std::size_t first, std::size_t count);

}  // namespace filterscope
