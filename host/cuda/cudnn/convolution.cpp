#include "convolution.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <limits>
#include <map>
#include <optional>
#include <string>
#include <utility>

#include "../../base/error.h"
#include "../plan/convolution_trial.h"
#include "../plan/planner.h"
#include "../runtime.h"

namespace filterscope::cuda {
namespace {

// A plan that takes this much longer than the best so far is not timed again.
constexpr double kCutoffFactor = 1.5;

}  // namespace

class CudnnConvolutions::Device {
 public:
  // A graph and the plan that is used.
  struct Selection {
    GraphDescription description;
    std::string wanted;  // The plan that timing chose; empty: the first that works.
    double setup_seconds = 0;
    std::unique_ptr<ConvolutionGraph> graph;  // Made when first needed.
    int plan = kNone;                         // Its number in the graph, once it is built.
  };

  explicit Device(const CudnnOptions& options) : options_(options) {}

  // As CudnnConvolutions::variants(), for one graph.
  std::vector<Selection*> select(const GraphDescription& description, const ConvolutionProblem& problem,
                                 PlanSearch search, const TimingBudget& has_time);
  // False if the selection's plan is not available.
  bool try_ready(Selection& selection);
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
    selection.graph->launch(selection.plan, *handle(), arguments, stream);
  }

 private:
  static constexpr int kNone = -1;
  enum class Kind { ready_made, compiled };

  void make_ready(Selection& selection);
  bool use(Selection& selection, int plan);
  // Null if it is not known and is not, or could not be, searched.
  const PlanCache::Entry* fastest(const GraphDescription& description, const ConvolutionProblem& problem,
                                  Kind kind, bool search, const TimingBudget& has_time);
  std::unique_ptr<ConvolutionGraph> make_graph(const GraphDescription& description) {
    return ConvolutionGraph::make(description, handle(), options_.workspace_limit);
  }
  const std::shared_ptr<const CudnnHandle>& handle() {
    if (handle_ == nullptr) handle_ = std::make_shared<const CudnnHandle>();
    return handle_;
  }

  CudnnOptions options_;
  std::shared_ptr<const CudnnHandle> handle_;    // Made when first needed, since that loads kernels.
  std::map<std::string, Selection> selections_;  // By graph and plan.
  PlanCache found_{{}, {}};                      // What options_.cache does not have.
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
    return selection_.description.formulation == Formulation::rotated_fprop ? WeightLayout::crsk_rotated
                                                                            : WeightLayout::krsc;
  }
  BiasType bias_type() const override { return selection_.description.bias_type; }
  std::size_t workspace_bytes() const override { return device_->workspace_bytes(selection_); }
  double setup_seconds() const override { return selection_.setup_seconds; }
  bool make_ready() override { return device_->try_ready(selection_); }
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
    const GraphDescription& description, const ConvolutionProblem& problem, PlanSearch search,
    const TimingBudget& has_time) {
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
    return try_ready(*first) ? std::vector{first} : std::vector<Selection*>();
  }
  std::vector<Selection*> selections;
  for (const Kind kind : {Kind::ready_made, Kind::compiled}) {
    const bool searched =
        search == PlanSearch::compiled || (search == PlanSearch::ready_made && kind == Kind::ready_made);
    const PlanCache::Entry* const found = fastest(description, problem, kind, searched, has_time);
    if (found != nullptr && !found->plan.empty())
      selections.push_back(selection(found->plan, found->setup_seconds));
  }
  return selections;
}

bool CudnnConvolutions::Device::try_ready(Selection& selection) {
  if (selection.plan != kNone) return true;
  if (selection.graph == nullptr) selection.graph = make_graph(selection.description);
  if (selection.graph == nullptr) return false;
  for (int plan = 0; plan < selection.graph->plan_count(); ++plan) {
    const bool wanted = selection.wanted.empty() || selection.graph->plan_name(plan) == selection.wanted;
    if (wanted && use(selection, plan)) return true;
  }
  return false;
}

void CudnnConvolutions::Device::make_ready(Selection& selection) {
  if (try_ready(selection)) return;
  throw Error(ErrorKind::device, fmt::format("cuDNN {} has no plan {}that works for: {}", cudnn_version(),
                                             selection.wanted.empty() ? "" : selection.wanted + " ",
                                             to_string(selection.description)));
}

bool CudnnConvolutions::Device::use(Selection& selection, int plan) {
  if (!selection.graph->build(plan)) return false;
  selection.plan = plan;
  return true;
}

const PlanCache::Entry* CudnnConvolutions::Device::fastest(const GraphDescription& exact,
                                                           const ConvolutionProblem& exact_problem, Kind kind,
                                                           bool search, const TimingBudget& has_time) {
  const ConvolutionProblem problem = timed_problem(exact_problem);
  GraphDescription description = exact;
  description.images = problem.images;
  const std::string key = to_string(description) + (kind == Kind::compiled ? ", compiled" : ", ready-made");
  for (PlanCache* const cache : {options_.cache, &found_}) {
    if (cache == nullptr) continue;
    if (const PlanCache::Entry* const known = cache->find(key)) return known;
  }
  const auto out_of_time = [&] { return has_time && !has_time(); };
  if (!search || out_of_time()) return nullptr;

  Selection selection;
  selection.description = description;
  selection.graph = make_graph(description);
  bool conclusive = selection.graph != nullptr;
  TimedPlan best;
  if (selection.graph != nullptr) {
    std::optional<ConvolutionTrial> timer;
    CudnnVariant candidate(std::shared_ptr<Device>(std::shared_ptr<void>(), this), selection, problem);
    PlanLimits limits = options_.timed;
    (kind == Kind::compiled ? limits.precompiled : limits.compiled) = 0;
    best = fastest_plan(*selection.graph, limits, [&](int plan, const TimedPlan& so_far) {
      constexpr double kNever = std::numeric_limits<double>::infinity();
      if (out_of_time()) {
        conclusive = false;
        return kNever;
      }
      try {
        const auto start = std::chrono::steady_clock::now();
        if (!use(selection, plan)) {
          // Compiling needs a library that may be available another time.
          conclusive &= !selection.graph->compiles(plan);
          return kNever;
        }
        const std::chrono::duration<double> setup = std::chrono::steady_clock::now() - start;
        if (!timer) timer.emplace(problem);
        const double milliseconds = timer->milliseconds(candidate, kCutoffFactor * so_far.milliseconds);
        if (milliseconds < so_far.milliseconds && kind == Kind::compiled)
          selection.setup_seconds = setup.count();
        return milliseconds;
      } catch (const WrongResult& error) {
        options_.warn(fmt::format("{}. It is not used; please report this.", error.what()));
        return kNever;
      } catch (const std::exception& error) {
        // A plan that fails is passed over. If it has broken the device, this process cannot launch anything
        // any more; the next one uses what was found before.
        conclusive = false;
        if (cudaDeviceSynchronize() == cudaSuccess) return kNever;
        const std::string name = selection.graph->plan_name(plan);
        if (options_.cache != nullptr) {
          options_.cache->store(key, so_far.plan < 0
                                         ? PlanCache::Entry{}
                                         : PlanCache::Entry{selection.graph->plan_name(so_far.plan),
                                                            so_far.milliseconds, selection.setup_seconds});
          options_.cache->save();
        }
        throw Error(
            ErrorKind::device,
            fmt::format("cuDNN's {} for {} broke the device: {}. Repeat the command: it is not used from "
                        "now on. Please report this",
                        name, key, error.what()));
      }
    });
  }
  PlanCache::Entry entry;
  if (best.plan >= 0) {
    entry = {selection.graph->plan_name(best.plan), best.milliseconds, selection.setup_seconds};
    // As select() would make it, so that it is not built again.
    selection.wanted = entry.plan;
    selection.plan = best.plan;
    selections_.try_emplace(to_string(description) + ": " + entry.plan, std::move(selection));
  } else if (!conclusive && out_of_time()) {
    return nullptr;
  }
  PlanCache& cache = conclusive && options_.cache != nullptr ? *options_.cache : found_;
  cache.store(key, std::move(entry));
  cache.save();
  return cache.find(key);
}

CudnnConvolutions::CudnnConvolutions(const CudnnOptions& options)
    : device_(std::make_shared<Device>(options)) {}

std::vector<std::unique_ptr<ConvolutionVariant>> CudnnConvolutions::variants(
    const ConvolutionProblem& problem, PlanSearch search, const TimingBudget& has_time) {
  std::vector<std::unique_ptr<ConvolutionVariant>> variants;
  for (const GraphDescription& graph : graphs_of(problem)) {
    for (Device::Selection* const selection : device_->select(graph, problem, search, has_time))
      variants.push_back(std::make_unique<CudnnVariant>(device_, *selection, problem));
  }
  return variants;
}

}  // namespace filterscope::cuda
