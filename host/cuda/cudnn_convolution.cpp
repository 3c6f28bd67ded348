#include "cudnn_convolution.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <functional>
#include <limits>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "../error.h"
#include "cudnn_graph.h"
#include "plan.h"
#include "plan_cache.h"
#include "runtime.h"
#include "timing.h"

namespace filterscope::cuda {
namespace {

// A plan that takes this much longer than the best so far is not timed again.
constexpr double kHopeless = 1.5;

}  // namespace

class CudnnConvolutions::Device {
 public:
  // A graph and which plan of it is used.
  struct Selection {
    GraphDescription description;
    std::string wanted;  // The plan that timing chose; empty: the first that works.
    double setup_seconds = 0;
    std::unique_ptr<ConvolutionGraph> graph;  // Once it is needed.
    int plan = kNone;                         // Its number in the graph, once it is built.
  };

  explicit Device(const CudnnOptions& options)
      : options_(options), handle_(std::make_shared<const CudnnHandle>()) {}

  // As CudnnConvolutions::variants(), by one graph.
  std::vector<Selection*> select(const GraphDescription& description, const ConvolutionProblem& problem,
                                 PlanSearch search);
  std::string plan_name(Selection& selection) {
    if (!selection.wanted.empty()) return selection.wanted;
    make_ready(selection);
    return selection.graph->plan_name(selection.plan);
  }
  std::size_t workspace_bytes(Selection& selection) {
    make_ready(selection);
    return selection.graph->workspace_bytes(selection.plan);
  }
  void launch(Selection& selection, const ConvolutionArguments& arguments, cudaStream_t stream) {
    make_ready(selection);
    selection.graph->launch(selection.plan, *handle_, arguments, stream);
  }

 private:
  static constexpr int kNone = -1;
  enum class Kind { ready_made, compiled };

  void make_ready(Selection& selection);
  bool use(Selection& selection, int plan);
  // Null if it is not known and not to be found out, or could not be.
  const PlanCache::Entry* fastest(const GraphDescription& description, const ConvolutionProblem& problem,
                                  Kind kind, bool may_time);
  std::unique_ptr<ConvolutionGraph> make_graph(const GraphDescription& description) {
    return ConvolutionGraph::make(description, handle_, options_.workspace_limit);
  }

  CudnnOptions options_;
  std::shared_ptr<const CudnnHandle> handle_;
  std::map<std::string, Selection> selections_;  // By graph and plan.
  PlanCache own_cache_{{}, {}};                  // Where options_.cache is null.
};

namespace {

class CudnnVariant final : public ConvolutionVariant {
 public:
  using Device = CudnnConvolutions::Device;

  CudnnVariant(std::shared_ptr<Device> device, Device::Selection& selection,
               const ConvolutionProblem& problem)
      : device_(std::move(device)), selection_(selection), problem_(problem) {}

  std::string name() const override {
    const GraphDescription& graph = selection_.description;
    const std::string_view bias = graph.bias_type == BiasType::fp32 ? " fp32-bias" : "";
    return fmt::format("cudnn {} {}{} {}", to_string(graph.formulation), to_string(graph.epilogue), bias,
                       device_->plan_name(selection_));
  }
  const ConvolutionProblem& problem() const override { return problem_; }
  WeightLayout weight_layout() const override {
    return selection_.description.formulation == Formulation::rotated_forward ? WeightLayout::crsk_rotated
                                                                              : WeightLayout::krsc;
  }
  BiasType bias_type() const override { return selection_.description.bias_type; }
  std::size_t workspace_bytes() const override { return device_->workspace_bytes(selection_); }
  double setup_seconds() const override { return selection_.setup_seconds; }
  void launch(const ConvolutionArguments& arguments, cudaStream_t stream) override {
    device_->launch(selection_, arguments, stream);
  }

 private:
  std::shared_ptr<Device> device_;
  Device::Selection& selection_;
  ConvolutionProblem problem_;
};

}  // namespace

std::vector<CudnnConvolutions::Device::Selection*> CudnnConvolutions::Device::select(
    const GraphDescription& description, const ConvolutionProblem& problem, PlanSearch search) {
  const auto selection = [&](const std::string& plan, double setup_seconds) {
    const auto [place, added] = selections_.try_emplace(to_string(description) + ": " + plan);
    if (added) {
      place->second.description = description;
      place->second.wanted = plan;
      place->second.setup_seconds = setup_seconds;
    }
    return &place->second;
  };
  if (search == PlanSearch::untimed) {
    Selection* const first = selection("", 0);
    try {
      make_ready(*first);
    } catch (const Error&) {
      return {};
    }
    return {first};
  }
  std::vector<Selection*> selections;
  for (const Kind kind : {Kind::ready_made, Kind::compiled}) {
    const bool may_time =
        search == PlanSearch::compiled || (search == PlanSearch::ready_made && kind == Kind::ready_made);
    const PlanCache::Entry* const found = fastest(description, problem, kind, may_time);
    if (found != nullptr && !found->plan.empty())
      selections.push_back(selection(found->plan, found->setup_seconds));
  }
  return selections;
}

void CudnnConvolutions::Device::make_ready(Selection& selection) {
  if (selection.plan != kNone) return;
  if (selection.graph == nullptr) selection.graph = make_graph(selection.description);
  if (selection.graph != nullptr) {
    // The wanted plan; else another of its engine; else any.
    const std::string_view wanted = selection.wanted;
    const std::string_view engine = wanted.substr(0, wanted.find('_'));
    const std::array<std::function<bool(std::string_view)>, 3> acceptable{
        [&](std::string_view name) { return name == wanted; },
        [&](std::string_view name) { return name.substr(0, name.find('_')) == engine; },
        [](std::string_view) { return true; }};
    for (const auto& accepts : acceptable) {
      for (int plan = 0; plan < selection.graph->plan_count(); ++plan) {
        if (accepts(selection.graph->plan_name(plan)) && use(selection, plan)) return;
      }
    }
  }
  throw Error(ErrorKind::device, fmt::format("cuDNN {} has no plan that works for: {}", cudnn_version(),
                                             to_string(selection.description)));
}

bool CudnnConvolutions::Device::use(Selection& selection, int plan) {
  if (!selection.graph->build(plan)) return false;
  selection.plan = plan;
  return true;
}

const PlanCache::Entry* CudnnConvolutions::Device::fastest(const GraphDescription& exact,
                                                           const ConvolutionProblem& exact_problem, Kind kind,
                                                           bool may_time) {
  const ConvolutionProblem problem = timed_problem(exact_problem);
  GraphDescription description = exact;
  description.images = problem.images;
  PlanCache& cache = options_.cache != nullptr ? *options_.cache : own_cache_;
  const std::string key = to_string(description) + (kind == Kind::compiled ? ", compiled" : ", ready-made");
  if (const PlanCache::Entry* const known = cache.find(key)) return known;
  if (!may_time) return nullptr;

  Selection selection;
  selection.description = description;
  selection.graph = make_graph(description);
  TimedPlan best;
  double setup_seconds = 0;
  bool failed = false;
  if (selection.graph != nullptr) {
    std::optional<ConvolutionTimer> timer;
    CudnnVariant candidate(std::shared_ptr<Device>(std::shared_ptr<void>(), this), selection, problem);
    PlanLimits limits = options_.timed;
    (kind == Kind::compiled ? limits.precompiled : limits.compiled) = 0;
    best = fastest_plan(*selection.graph, limits, [&](int plan, const TimedPlan& so_far) {
      constexpr double kNever = std::numeric_limits<double>::infinity();
      try {
        const auto start = std::chrono::steady_clock::now();
        if (!use(selection, plan)) {
          // Compiling needs a library that may be there another time.
          failed |= selection.graph->compiles(plan);
          return kNever;
        }
        const std::chrono::duration<double> setup = std::chrono::steady_clock::now() - start;
        if (!timer) timer.emplace(problem);
        const double milliseconds = timer->milliseconds(candidate, kHopeless * so_far.milliseconds);
        if (milliseconds < so_far.milliseconds && kind == Kind::compiled) setup_seconds = setup.count();
        return milliseconds;
      } catch (const std::exception&) {
        // A plan that fails is none. One that has broken the device is an Error.
        failed = true;
        check(cudaDeviceSynchronize(), "after a plan of cuDNN for {} failed", key);
        return kNever;
      }
    });
  }
  if (best.plan < 0 && failed) return nullptr;
  cache.store(key, {.plan = best.plan < 0 ? "" : selection.graph->plan_name(best.plan),
                    .milliseconds = best.plan < 0 ? 0 : best.milliseconds,
                    .setup_seconds = setup_seconds});
  cache.save();
  return cache.find(key);
}

CudnnConvolutions::CudnnConvolutions(const CudnnOptions& options)
    : device_(std::make_shared<Device>(options)) {}

std::vector<std::unique_ptr<ConvolutionVariant>> CudnnConvolutions::variants(
    const ConvolutionProblem& problem, PlanSearch search) {
  std::vector<std::unique_ptr<ConvolutionVariant>> variants;
  for (const GraphDescription& graph : graphs_of(problem)) {
    for (Device::Selection* const selection : device_->select(graph, problem, search))
      variants.push_back(std::make_unique<CudnnVariant>(device_, *selection, problem));
  }
  return variants;
}

}  // namespace filterscope::cuda
