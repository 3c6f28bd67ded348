#include "engine.h"

#include <cuda_profiler_api.h>
#include <cuda_runtime_api.h>
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>
#include <optional>
#include <thread>
#include <utility>

#include "../base/error.h"
#include "../base/processors.h"
#include "../base/text.h"
#include "../base/threads.h"
#include "../run/batch.h"
#include "ascent_loop.h"
#include "device_weights.h"
#include "kernels/common/launch.h"
#include "kernels/first_layer/dgrad.h"
#include "kernels/head/filter_head.h"
#include "network_passes.h"
#include "nvtx.h"
#include "runtime.h"

namespace filterscope {

namespace {

using cuda::AscentLoop;

// The host enqueues this many iterations ahead of the device: enough that the device never waits, few enough
// that a run stops soon after it is interrupted.
constexpr int kIterationsAhead = 8;
// Iterations timed for an estimate. Of the warm-up, the first is not yet a graph, the second creates it.
constexpr int kWarmUpIterations = 2;
constexpr int kTimedIterations = 3;
constexpr std::chrono::microseconds kPollInterval{200};
// Results handed over between two polls of the device: well below a millisecond of work.
constexpr std::size_t kSliceBytes = std::size_t{1} << 20;

// Some cuDNN kernels cannot index more elements than an int can count.
constexpr std::int64_t kLargestTensor = std::numeric_limits<std::int32_t>::max();
// Batches take this share of the free device memory, less what the libraries need.
constexpr double kMemoryShare = 0.9;
constexpr std::size_t kReservedBytes = std::size_t{768} << 20;
// A profile of a few iterations should show the kernels chosen for a run of this length.
constexpr std::int64_t kProfiledIterations = 500;
// Images of each batch under --reproducible.
constexpr int kReproducibleBatch = 64;
// Larger batches are no faster.
constexpr int kMostImages = 1 << 14;
// fp16 ends at 65504. Inputs of about 1 lead to maps of some hundreds, inputs of 0..255 to more than 10^5 on
// trained weights; so the maps are kept as small as those of inputs up to this value. If one overflows all
// the same, its filter is ascended again with maps smaller by 2^kRangeStep.
constexpr float kLargestInput = 2.f;
constexpr int kRangeStep = 5;
constexpr int kLargestRange = 24;

// The least and the largest value that images start with.
std::pair<float, float> start_bounds(const Stage& stage, const InitialImages& given) {
  if (given.count > 0) {
    const auto [low, high] = std::ranges::minmax(given.values);
    return {low, high};
  }
  if (stage.parameterisation.range == Parameterisation::Range::sigmoid) return {0.f, 1.f};
  const Start& start = stage.start;
  switch (start.kind) {
    case Start::Kind::uniform:
      return {start.low, start.high};
    case Start::Kind::gaussian:
      return {start.mean - 4 * start.deviation, start.mean + 4 * start.deviation};
    case Start::Kind::constant:
      break;
  }
  return {start.value, start.value};
}

// The power of two by which the inputs of the start images exceed kLargestInput.
int range_of_inputs(const Recipe& recipe, const InitialImages& given) {
  const Stage& stage = recipe.first();
  const auto [low, high] = start_bounds(stage, given);
  const InputMapping& mapping = stage.input_mapping;
  float largest = kLargestInput;
  for (int c = 0; c < 3; ++c) {
    for (const float value : {low, high})
      largest = std::max(largest, std::abs(mapping.scale[c] * value + mapping.offset[c]));
  }
  return static_cast<int>(std::ceil(std::log2(largest / kLargestInput)));
}

class CudaEngine final : public Engine {
 public:
  CudaEngine(const Network& network, const Weights& weights, const Recipe& recipe,
             const RenderOptions& options, CudaBackend backend)
      : network_(network),
        weights_(weights),
        recipe_(recipe),
        options_(options),
        precision_(options.precision),
        team_(options.threads > 0 ? options.threads : default_threads()),
        index_(backend.device),
        range_(precision_ == Precision::fp16 ? range_of_inputs(recipe, options.initial_images) : 0),
        libraries_(std::move(backend.libraries)),
        missing_(std::move(backend.missing)),
        planner_(network, precision_, backend.rule, std::move(backend.sources), std::move(backend.timings)),
        device_weights_(
            timed(phases_.weights, [&] { return cuda::DeviceWeights(network, weights, precision_); })) {
    if (!missing_.empty() && precision_ == Precision::tf32) {
      throw Error(
          ErrorKind::device,
          fmt::format("--precision tf32 is computed by cuDNN alone: {}; or use --precision fp16 or fp32",
                      missing_));
    }
    make_current();
    cuda::check(cudaGetDeviceProperties(&device_, index_), "asking for the properties of cuda:{}", index_);
  }

  EngineDescription describe() const override {
    return {.device = fmt::format("cuda:{}", index_),
            .device_name = device_.name,
            .precision = precision_,
            .threads = 0,
            .libraries = libraries_,
            .plans = plans_};
  }

  PhaseSeconds phases() const override { return phases_; }

  std::string notice() const override {
    return missing_.empty() ? "" : fmt::format("{}. Continuing with the project's own kernels.", missing_);
  }

  BatchLimits batch_limits() override {
    if (options_.reproducible)
      return {
          .form = BatchForm::fixed, .images = kReproducibleBatch, .reason = "--reproducible", .memory = {}};
    std::int64_t elements = 1;  // Largest map of one image.
    for (const Stage& stage : recipe_.stages) {
      for (int layer = 0; layer < network_.layer_count(); ++layer) {
        elements = std::max(elements, network_.map_extent(layer, canvas_extent(stage)).positions() *
                                          network_.convolutions[layer].out_channels);
      }
    }
    make_current();
    std::size_t free = 0;
    std::size_t total = 0;
    cuda::check(cudaMemGetInfo(&free, &total), "asking for free memory");
    const double budget =
        kMemoryShare * static_cast<double>(free) - static_cast<double>(std::min(kReservedBytes, free / 4));
    return {.form = BatchForm::mixed_layers,
            .images = static_cast<int>(std::clamp<std::int64_t>(kLargestTensor / elements, 1, kMostImages)),
            .reason = "what the libraries can index",
            .memory = static_cast<std::size_t>(std::max(budget, 0.))};
  }

  std::size_t batch_bytes(const BatchLayout& layout) override {
    return AscentLoop::device_bytes(network_, recipe_, options_, precision_, layout);
  }

  std::string memory_advice() const override { return "free device memory, or use --device cpu"; }

  bool extend_range() override {
    if (precision_ != Precision::fp16 || range_ >= kLargestRange) return false;
    range_ += kRangeStep;
    return true;
  }

  double timed_iterations(const BatchGroup& group, std::size_t /*stage*/) const override {
    return (kWarmUpIterations + kTimedIterations) * static_cast<double>(group.layout.images());
  }

  std::optional<double> seconds_per_image(const BatchGroup& group, std::size_t stage,
                                          const std::stop_token& stop) override {
    if (stop.stop_requested()) return std::nullopt;
    make_current();
    const ThreadTeam::Scope scope(&team_);
    Recipe recipe = recipe_;
    recipe.stages = {recipe_.stages[stage]};
    recipe.stages[0].iterations = std::max(
        recipe.stages[0].iterations, kWarmUpIterations + kTimedIterations);  // The trace has a row for each.
    RenderOptions options = options_;
    options.initial_images = {};
    double seconds = 0;
    with_launch_errors([&] {
      AscentLoop ascent(network_, recipe, options, precision_, device_weights_, make_plans(recipe, group, {}),
                        range_);
      ascent.start(group.batches.front());
      for (int i = 0; i < kWarmUpIterations; ++i) ascent.iterate();
      ascent.drain();
      timed(seconds, [&] {
        for (int i = 0; i < kTimedIterations; ++i) ascent.iterate();
        ascent.drain();
      });
    });
    return seconds / kTimedIterations / group.layout.images();
  }

  void ascend(const BatchGroup& group, RenderObserver& observer, const std::stop_token& stop) override {
    make_current();
    const ThreadTeam::Scope scope(&team_);
    with_launch_errors([&] { ascend_group(group, observer, stop); });
  }

  void find_gradients(const BatchGroup& group, std::span<const float> images,
                      std::span<FilterGradient> results) override {
    make_current();
    const ThreadTeam::Scope scope(&team_);
    with_launch_errors([&] {
      const Stage& stage = recipe_.first();
      const auto passes = cuda::make_passes(
          network_, stage, precision_, device_weights_,
          planner_.make(group.layout, canvas_extent(stage), use_of(stage, group, {})), range_);
      for (const Batch& batch : group.batches) find_gradients(*passes, batch, images, results);
    });
  }

 private:
  // The calling thread may not be the one that made the engine.
  void make_current() const { cuda::check(cudaSetDevice(index_), "--device cuda:{}", index_); }

  template <class Action>
  void with_launch_errors(Action action) const {
    try {
      action();
    } catch (const kernels::LaunchError& error) {
      throw Error(ErrorKind::device, fmt::format("cuda:{} ({}): {}", index_, device_.name, error.what()));
    }
  }

  // The gradients of one batch, each in its filter's place.
  void find_gradients(cuda::NetworkPasses& passes, const Batch& batch, std::span<const float> images,
                      std::span<FilterGradient> results) const {
    const std::size_t count = batch.filters.size();
    const Extent extent = passes.plan().image;
    const std::size_t size = static_cast<std::size_t>(extent.positions()) * 3;
    std::vector<float> starts;
    std::vector<int> filters;
    for (std::size_t i = 0; i < count; ++i) {
      const auto image = images.subspan(std::max<std::int64_t>(batch.indices[i], 0) * size, size);
      starts.insert(starts.end(), image.begin(), image.end());
      filters.push_back(batch.filters[i].filter);
    }
    const cuda::DeviceBuffer<float> device_images{std::span<const float>(starts)};
    const cuda::DeviceBuffer<int> device_filters{std::span<const int>(filters)};
    const cuda::DeviceBuffer<float> sums(count * kernels::kFilterHeadParts);
    const cuda::DeviceBuffer<float> gradients(count * size);
    const cuda::DeviceBuffer<float> squares(count *
                                            kernels::image_gradient_parts(extent.height, extent.width));
    const cuda::PassArguments arguments{.images = device_images.data(),
                                        .filters = device_filters.data(),
                                        .sums = sums.data(),
                                        .gradients = gradients.data(),
                                        .squares = squares.data()};
    const cuda::Stream stream;
    passes.forward(arguments, stream);
    passes.backward(arguments, stream);
    stream.synchronise();
    const std::vector<float> parts = cuda::to_host(sums.data(), sums.size());
    const std::vector<float> weights = cuda::to_host(passes.loss_weights(), count);
    for (std::size_t i = 0; i < count; ++i) {
      if (batch.indices[i] == Batch::kPadding) continue;
      FilterGradient& result = results[batch.indices[i]];
      result.id = batch.filters[i];
      for (int part = 0; part < kernels::kFilterHeadParts; ++part)
        result.loss += parts[i * kernels::kFilterHeadParts + part];
      result.loss *= double{weights[i]};
      result.gradient = cuda::to_host(gradients.data() + i * size, size);
      result.masks = passes.masks(static_cast<int>(i));
    }
  }

  std::vector<cuda::Plan> make_plans(const Recipe& recipe, const BatchGroup& group, std::stop_token stop,
                                     RenderObserver* observer = nullptr) {
    std::vector<cuda::Plan> plans;
    for (const Stage& stage : recipe.stages)
      plans.push_back(
          planner_.make(group.layout, canvas_extent(stage), use_of(stage, group, stop, observer)));
    return plans;
  }

  cuda::PlanUse use_of(const Stage& stage, const BatchGroup& group, std::stop_token stop,
                       RenderObserver* observer = nullptr) const {
    const std::int64_t iterations =
        std::max<std::int64_t>(stage.iterations, options_.profile_count > 0 ? kProfiledIterations : 0);
    cuda::PlanUse use{.iterations = iterations * std::ssize(group.batches), .stop = std::move(stop)};
    if (observer != nullptr)
      use.on_notice = [observer](const std::string& text) { observer->on_notice(text); };
    return use;
  }

  // Throws OutOfMemory at the first iteration of the first batch at the latest, before anything of the group
  // has been reported or delivered.
  void ascend_group(const BatchGroup& group, RenderObserver& observer, const std::stop_token& stop) {
    std::optional<AscentLoop> ascent;
    {
      const PhaseTimer timer(phases_.plans);
      ascent.emplace(network_, recipe_, options_, precision_, device_weights_,
                     make_plans(recipe_, group, stop, &observer), range_);
    }
    const PhaseTimer timer(phases_.ascent);
    const auto lost = [&](const char* reason) {
      while (ascent->has_arrived_results()) deliver_one(*ascent, observer);
      return Error(ErrorKind::device,
                   fmt::format("cuda:{} ({}) failed during the ascent: {}. The results that had arrived "
                               "are delivered",
                               index_, device_.name, reason));
    };
    try {
      for (const Batch& batch : group.batches) {
        if (stop.stop_requested() || !ascend(*ascent, batch, observer, stop)) break;
      }
      while (ascent->has_results()) deliver_one(*ascent, observer);
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::device) throw;  // From the observer.
      throw lost(error.what());
    } catch (const kernels::LaunchError& error) {
      throw lost(error.what());
    }
  }

  // Returns false if stopped before the batch was complete. Delivers the results of the previous batch on the
  // way, and never waits for the observer while there are iterations to enqueue.
  bool ascend(AscentLoop& ascent, const Batch& batch, RenderObserver& observer, const std::stop_token& stop) {
    const cuda::nvtx::Range range("batch");
    const std::int64_t filters = batch.filter_count();
    ascent.start(batch);
    int reported = 0;
    const auto attend = [&] {
      const int finished = ascent.finished_iterations();
      if (finished > reported) observer.on_progress((finished - reported) * filters);
      reported = finished;
      if (ascent.has_results() && ascent.results_arrived()) deliver_some(ascent, observer);
      return finished;
    };
    for (int iteration = 1; iteration <= recipe_.iterations(); ++iteration) {
      while (iteration - attend() > kIterationsAhead) {
        if (stop.stop_requested()) return false;
        std::this_thread::sleep_for(kPollInterval);
      }
      if (stop.stop_requested()) return false;
      iterate(ascent);
    }
    while (ascent.has_results()) deliver_one(ascent, observer);
    for (std::size_t stage = 0; stage < recipe_.stages.size(); ++stage) remember_plan(ascent.plan(stage));
    ascent.finish();
    while (attend() < recipe_.iterations()) {
      if (stop.stop_requested()) return true;  // Everything is enqueued, so the batch still counts.
      std::this_thread::sleep_for(kPollInterval);
    }
    return true;
  }

  void iterate(AscentLoop& ascent) {
    const int last = options_.profile_first + options_.profile_count - 1;
    const bool profiled =
        options_.profile_count > 0 && enqueued_ + 1 >= options_.profile_first && enqueued_ + 1 <= last;
    ++enqueued_;
    if (profiled && enqueued_ == options_.profile_first) {
      ascent.drain();
      cuda::check(cudaProfilerStart(), "starting the profiler");
    }
    {
      const cuda::nvtx::Range range("iteration");
      ascent.iterate(!profiled);
    }
    if (profiled && enqueued_ == last) {
      ascent.drain();
      cuda::check(cudaProfilerStop(), "stopping the profiler");
    }
  }

  static void deliver_some(AscentLoop& ascent, RenderObserver& observer) {
    const std::size_t bytes = ascent.result_bytes();
    std::size_t delivered = 0;
    while (ascent.has_results() && (delivered == 0 || delivered + bytes <= kSliceBytes) &&
           observer.has_room(bytes)) {
      deliver_one(ascent, observer);
      delivered += bytes;
    }
  }

  static void deliver_one(AscentLoop& ascent, RenderObserver& observer) {
    FilterResult result = ascent.take_result();
    for (const TracePoint& point : result.trace) observer.on_loss(result.id, point);
    observer.on_finished(std::move(result));
  }

  void remember_plan(const cuda::Plan& plan) {
    std::string description = plan.describe(network_);
    if (std::ranges::find(plans_, description) == plans_.end()) plans_.push_back(std::move(description));
  }

  const Network& network_;
  const Weights& weights_;
  const Recipe recipe_;
  const RenderOptions options_;
  const Precision precision_;
  ThreadTeam team_;  // Converts weight layouts and compares results of kernels.
  const int index_;
  int range_;  // Maps are kept 2^-range_ times as large.
  const Libraries libraries_;
  const std::string missing_;
  cudaDeviceProp device_{};
  PhaseSeconds phases_;
  cuda::Planner planner_;
  cuda::DeviceWeights device_weights_;
  std::vector<std::string> plans_;
  int enqueued_ = 0;  // Iterations enqueued in the run.
};

}  // namespace

std::unique_ptr<Engine> make_cuda_engine(const Network& network, const Weights& weights, const Recipe& recipe,
                                         const RenderOptions& options, CudaBackend backend) {
  return std::make_unique<CudaEngine>(network, weights, recipe, options, std::move(backend));
}

}  // namespace filterscope
