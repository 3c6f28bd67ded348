#include "fastest_plan.h"

#include <algorithm>
#include <string_view>
#include <vector>

namespace filterscope::cuda {

TimedPlan fastest_plan(const ConvolutionGraph& graph, const PlanLimits& limits,
                       const std::function<double(int plan, const TimedPlan& best)>& time) {
  const auto engine_of = [&](int plan) {
    const std::string_view name = graph.plan_name(plan);
    return name.substr(0, name.find('_'));
  };
  TimedPlan best;
  const auto attempt = [&](int plan) {
    const double milliseconds = time(plan, best);
    if (milliseconds < best.milliseconds) best = {plan, milliseconds};
  };
  std::vector<int> to_compile;
  for (int plan = 0, timed = 0; plan < graph.plan_count(); ++plan) {
    if (graph.compiles(plan)) {
      to_compile.push_back(plan);
    } else if (timed++ < limits.precompiled) {
      attempt(plan);
    }
  }
  // Engines differ more than the plans of one engine: first one plan of each, then more of the best engine's,
  // then the rest.
  int left = limits.compiled;
  std::vector<std::string_view> seen;
  const auto attempt_those = [&](const auto& wanted) {
    for (auto plan = to_compile.begin(); plan != to_compile.end() && left > 0;) {
      if (!wanted(*plan)) {
        ++plan;
        continue;
      }
      seen.push_back(engine_of(*plan));
      attempt(*plan);
      --left;
      plan = to_compile.erase(plan);
    }
  };
  attempt_those([&](int plan) { return std::ranges::find(seen, engine_of(plan)) == seen.end(); });
  const std::string_view favourite = best.plan < 0 ? "" : engine_of(best.plan);
  attempt_those([&](int plan) { return engine_of(plan) == favourite; });
  attempt_those([](int) { return true; });
  return best;
}

}  // namespace filterscope::cuda
