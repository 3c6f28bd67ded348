#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "../store/stored_run.h"

namespace filterscope {

/// A filter's loss after so many steps.
struct CurvePoint {
  int steps;
  float loss;
};

/// The losses of the filter in row `row` of the manifest, from the initial image (no steps) to the finished
/// one; empty if the filter is missing. A trace has the loss of iteration i before its step, so after i - 1
/// steps.
std::vector<CurvePoint> loss_curve(const StoredRun& run, std::size_t row);

/// The most points that a curve is drawn with; longer ones are thinned evenly. traces.csv has all.
inline constexpr std::size_t kCurvePoints = 128;

/// An SVG picture of the losses of one layer's filters over the steps: a thin line per filter (red for dead
/// ones), a thick one for the median, and the numbers of the three highest. Its colours follow the viewer's
/// light or dark scheme. The filters are in `count` rows of the manifest from `first` on; at least one, all
/// of one layer.
std::string draw_curves(const StoredRun& run, std::size_t first, std::size_t count);

}  // namespace filterscope
