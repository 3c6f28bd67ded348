#include "cudnn_convolution.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <map>
#include <string>
#include <string_view>
#include <utility>

#include "../error.h"
#include "cudnn_graph.h"
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
    ConvolutionProblem problem;
    std::string text;  // Of the description.
    std::unique_ptr<ConvolutionGraph> graph;
    std::string plan_name;  // Empty: not chosen yet.
    int plan = kNone;       // Its number in the graph, once it is built.
    bool impossible = false;
  };

  explicit Device(const CudnnOptions& options)
      : options_(options), handle_(std::make_shared<const CudnnHandle>()) {}

  // Null if cuDNN cannot.
  Selection* select(const GraphDescription& description, const ConvolutionProblem& problem);
  const std::string& plan_name(Selection& selection) {
    if (selection.plan_name.empty()) make_ready(selection);
    return selection.plan_name;
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

  void make_ready(Selection& selection);
  void make_graph(Selection& selection);
  bool use(Selection& selection, int plan);
  void choose_first(Selection& selection);
  void choose_fastest(Selection& selection);
  PlanCache* cache() const { return options_.reproducible ? nullptr : options_.cache; }

  CudnnOptions options_;
  std::shared_ptr<const CudnnHandle> handle_;
  std::map<std::string, Selection> selections_;
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
  void launch(const ConvolutionArguments& arguments, cudaStream_t stream) override {
    device_->launch(selection_, arguments, stream);
  }

 private:
  std::shared_ptr<Device> device_;
  Device::Selection& selection_;
  ConvolutionProblem problem_;
};

}  // namespace

CudnnConvolutions::Device::Selection* CudnnConvolutions::Device::select(const GraphDescription& description,
                                                                        const ConvolutionProblem& problem) {
  const auto [place, added] = selections_.try_emplace(to_string(description));
  Selection& selection = place->second;
  if (added) {
    selection.description = description;
    selection.problem = problem;
    selection.text = place->first;
    const PlanCache::Entry* const known = cache() != nullptr ? cache()->find(selection.text) : nullptr;
    if (known != nullptr) {
      selection.plan_name = known->plan;
      selection.impossible = known->plan.empty();
    } else if (options_.reproducible) {
      make_graph(selection);
    } else {
      choose_fastest(selection);
    }
  }
  return selection.impossible ? nullptr : &selection;
}

void CudnnConvolutions::Device::make_graph(Selection& selection) {
  selection.graph = ConvolutionGraph::make(selection.description, handle_, options_.workspace_limit);
  selection.impossible = selection.graph == nullptr;
}

void CudnnConvolutions::Device::make_ready(Selection& selection) {
  if (selection.plan != kNone) return;
  if (selection.graph == nullptr) make_graph(selection);
  if (!selection.impossible && options_.reproducible) {
    choose_first(selection);
  } else if (!selection.impossible) {
    // The cache's plan, unless cuDNN does not offer it any more.
    for (int plan = 0; plan < selection.graph->plan_count(); ++plan) {
      if (selection.graph->plan_name(plan) == selection.plan_name && use(selection, plan)) return;
    }
    choose_fastest(selection);
  }
  if (selection.impossible) {
    throw Error(ErrorKind::device,
                fmt::format("cuDNN {} has no plan that works for: {}", cudnn_version(), selection.text));
  }
}

bool CudnnConvolutions::Device::use(Selection& selection, int plan) {
  if (!selection.graph->build(plan)) return false;
  selection.plan = plan;
  selection.plan_name = selection.graph->plan_name(plan);
  return true;
}

void CudnnConvolutions::Device::choose_first(Selection& selection) {
  for (int plan = 0; plan < selection.graph->plan_count(); ++plan) {
    if (use(selection, plan)) return;
  }
  selection.impossible = true;
}

void CudnnConvolutions::Device::choose_fastest(Selection& selection) {
  if (selection.graph == nullptr) make_graph(selection);
  TimedPlan best;
  if (!selection.impossible) {
    ConvolutionTimer timer(selection.problem);
    CudnnVariant candidate(std::shared_ptr<Device>(std::shared_ptr<void>(), this), selection,
                           selection.problem);
    best = fastest_plan(*selection.graph, options_.timed, [&](int plan, const TimedPlan& so_far) {
      constexpr double kNever = std::numeric_limits<double>::infinity();
      try {
        if (!use(selection, plan)) return kNever;
        return timer.milliseconds(candidate, kHopeless * so_far.milliseconds);
      } catch (const std::exception&) {
        // A plan that fails is none. One that has broken the device is an Error.
        check(cudaDeviceSynchronize(), "after a plan of cuDNN for {} failed", selection.text);
        return kNever;
      }
    });
  }
  selection.impossible = best.plan < 0;
  selection.plan = best.plan;
  selection.plan_name = selection.impossible ? "" : selection.graph->plan_name(best.plan);
  if (cache() != nullptr) {
    cache()->store(selection.text, {selection.plan_name, selection.impossible ? 0 : best.milliseconds});
    cache()->save();
  }
}

CudnnConvolutions::CudnnConvolutions(const CudnnOptions& options)
    : device_(std::make_shared<Device>(options)) {}

std::vector<std::unique_ptr<ConvolutionVariant>> CudnnConvolutions::variants(
    const ConvolutionProblem& problem) {
  std::vector<std::unique_ptr<ConvolutionVariant>> variants;
  for (const GraphDescription& graph : graphs_of(problem)) {
    Device::Selection* const selection = device_->select(graph, problem);
    if (selection != nullptr)
      variants.push_back(std::make_unique<CudnnVariant>(device_, *selection, problem));
  }
  return variants;
}

}  // namespace filterscope::cuda
