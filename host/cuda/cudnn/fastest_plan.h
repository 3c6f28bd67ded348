#pragma once

#include <functional>
#include <limits>

#include "graph.h"

namespace filterscope::cuda {

/// How many of a graph's plans are worth timing.
struct PlanLimits {
  int precompiled = 6;  ///< Of those that come with cuDNN.
  int compiled = 2;     ///< Of those that have to be compiled.
};
struct TimedPlan {
  int plan = -1;  ///< None.
  double milliseconds = std::numeric_limits<double>::infinity();
};
/// The plan for which `time` gives least. It is asked, with the best so far, to build and time one plan after
/// another, the likely ones first, and says infinity for one that does not work.
TimedPlan fastest_plan(const ConvolutionGraph& graph, const PlanLimits& limits,
                       const std::function<double(int plan, const TimedPlan& best)>& time);

}  // namespace filterscope::cuda
