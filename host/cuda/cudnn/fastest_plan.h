#pragma once

#include <functional>
#include <limits>

#include "graph.h"

namespace filterscope::cuda {

/// How many of a graph's plans are timed.
struct PlanLimits {
  int precompiled = 6;  ///< Plans that come with cuDNN.
  int compiled = 2;     ///< Plans that have to be compiled.
};
struct TimedPlan {
  int plan = -1;  ///< -1: none.
  double milliseconds = std::numeric_limits<double>::infinity();
};
/// The plan with the smallest `time`, which builds and times a plan, given the best one so far, and returns
/// infinity for one that does not work. The most promising plans are tried first.
TimedPlan fastest_plan(const ConvolutionGraph& graph, const PlanLimits& limits,
                       const std::function<double(int plan, const TimedPlan& best)>& time);

}  // namespace filterscope::cuda
