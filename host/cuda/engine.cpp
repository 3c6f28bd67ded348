#include "engine.h"

#include <cuda_profiler_api.h>
#include <cuda_runtime_api.h>
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <limits>
#include <optional>
#include <thread>

#include "../base/error.h"
#include "../base/processors.h"
#include "../base/text.h"
#include "../base/threads.h"
#include "../run/schedule.h"
#include "../run/validation.h"
#include "ascent_loop.h"
#include "device_weights.h"
#include "geometry.h"
#include "kernels/common/launch.h"
#include "kernels/first_layer/dgrad.h"
#include "kernels/head/filter_head.h"
#include "network_passes.h"
#include "nvtx.h"
#include "runtime.h"

namespace filterscope {

namespace {

using cuda::AscentLoop;
using cuda::BatchPlan;

// The host runs this many iterations ahead of the device: enough that the device never waits for it, few
// enough that an interruption is soon heeded.
constexpr int kIterationsAhead = 8;
// For an estimate. The first is not yet a graph, the second makes it.
constexpr int kWarmUpIterations = 2;
constexpr int kTimedIterations = 3;
constexpr std::chrono::microseconds kPollInterval{200};
// Of results, as much is handed over between two looks at the device: well below a millisecond's work.
constexpr std::size_t kSliceBytes = std::size_t{1} << 20;

// More elements than an int can count are beyond some of cuDNN's kernels.
constexpr std::int64_t kLargestTensor = std::numeric_limits<std::int32_t>::max();
// Of the free device memory, what the engine leaves to others and to the libraries.
constexpr double kMemoryShare = 0.9;
constexpr std::size_t kReservedBytes = std::size_t{768} << 20;
// A profile of a few iterations is to show the kernels of a run of so many.
constexpr std::int64_t kProfiledIterations = 500;
// Of one layer, under --reproducible.
constexpr int kReproducibleBatch = 64;

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
        libraries_(std::move(backend.libraries)),
        missing_(std::move(backend.missing)),
        planner_(network, options.extent, precision_, backend.rule, std::move(backend.sources),
                 std::move(backend.timings)),
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

  std::optional<double> estimate(std::span<const FilterId> filters, double share,
                                 std::stop_token stop) override {
    require_filters(network_, filters);
    const PhaseTimer timer(phases_.plans);
    make_current();
    const ThreadTeam::Scope scope(&team_);
    std::vector<BatchPlan> plans;
    with_launch_errors([&] { plans = plan_batches(filters, largest_batch(filters)); });
    const auto iterations_of = [&](const BatchPlan& plan) {
      return static_cast<double>(plan.batches.size()) * recipe_.iterations;
    };
    double timed = 0;
    double all = 0;
    for (const BatchPlan& plan : plans) {
      const auto images = static_cast<double>(plan.geometry.images());
      timed += (kWarmUpIterations + kTimedIterations) * images;
      all += iterations_of(plan) * images;
    }
    if (timed > share * all) return std::nullopt;
    double seconds = 0;
    with_launch_errors([&] {
      for (const BatchPlan& plan : plans) {
        if (stop.stop_requested()) return;
        try {
          seconds += seconds_of_iteration(plan) * iterations_of(plan);
        } catch (const cuda::OutOfMemory& error) {
          throw too_little_memory(error, plan.geometry.images());
        }
      }
    });
    if (stop.stop_requested()) return std::nullopt;
    return seconds;
  }

  void render(std::span<const FilterId> filters, RenderObserver& observer, std::stop_token stop) override {
    require_filters(network_, filters);
    require_start_images(options_, filters);
    require_weights(network_, weights_, filters);
    make_current();
    const ThreadTeam::Scope scope(&team_);
    with_launch_errors([&] { render_all(filters, observer, stop); });
  }

  std::vector<FilterGradient> gradients(std::span<const FilterId> filters,
                                        std::span<const float> images) override {
    require_filters(network_, filters);
    require_images(options_, filters, images);
    require_weights(network_, weights_, filters);
    make_current();
    const ThreadTeam::Scope scope(&team_);
    std::vector<FilterGradient> results(filters.size());
    with_launch_errors([&] {
      for (BatchPlan& plan : plan_batches(filters, largest_batch(filters))) {
        place(plan, filters);
        try {
          const auto passes = cuda::make_passes(network_, recipe_, precision_, device_weights_,
                                                planner_.make(plan.geometry, use_of(plan, {})));
          for (const cuda::Assignment& batch : plan.batches) find_gradients(*passes, batch, images, results);
        } catch (const cuda::OutOfMemory& error) {
          throw too_little_memory(error, plan.geometry.images());
        }
      }
    });
    return results;
  }

 private:
  // Of the calling thread, which may not be the one that made the engine.
  void make_current() const { cuda::check(cudaSetDevice(index_), "--device cuda:{}", index_); }

  template <class Action>
  void with_launch_errors(Action action) const {
    try {
      action();
    } catch (const kernels::LaunchError& error) {
      throw Error(ErrorKind::device, fmt::format("cuda:{} ({}): {}", index_, device_.name, error.what()));
    }
  }

  // Of one batch.
  double seconds_of_iteration(const BatchPlan& plan) {
    Recipe recipe = recipe_;
    recipe.iterations =
        std::max(recipe.iterations, kWarmUpIterations + kTimedIterations);  // What there is memory for.
    AscentLoop ascent(network_, recipe, options_, precision_, device_weights_,
                      planner_.make(plan.geometry, use_of(plan, {})));
    ascent.start(plan.batches.front());
    for (int i = 0; i < kWarmUpIterations; ++i) ascent.iterate();
    ascent.drain();
    const auto start = std::chrono::steady_clock::now();
    for (int i = 0; i < kTimedIterations; ++i) ascent.iterate();
    ascent.drain();
    const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - start;
    return taken.count() / kTimedIterations;
  }

  // Of one batch, each into its filter's place.
  void find_gradients(cuda::NetworkPasses& passes, const cuda::Assignment& batch,
                      std::span<const float> images, std::span<FilterGradient> results) const {
    const std::size_t count = batch.filters.size();
    const std::size_t size = static_cast<std::size_t>(options_.extent.positions()) * 3;
    std::vector<float> starts;
    std::vector<int> filters;
    for (std::size_t i = 0; i < count; ++i) {
      const auto image = images.subspan(std::max<std::int64_t>(batch.selected[i], 0) * size, size);
      starts.insert(starts.end(), image.begin(), image.end());
      filters.push_back(batch.filters[i].filter);
    }
    const cuda::DeviceBuffer<float> device_images{std::span<const float>(starts)};
    const cuda::DeviceBuffer<int> device_filters{std::span<const int>(filters)};
    const cuda::DeviceBuffer<float> sums(count * kernels::kFilterHeadParts);
    const cuda::DeviceBuffer<float> gradients(count * size);
    const cuda::DeviceBuffer<float> squares(
        count * kernels::image_gradient_parts(options_.extent.height, options_.extent.width));
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
    for (std::size_t i = 0; i < count; ++i) {
      if (batch.selected[i] == cuda::Assignment::kNone) continue;
      FilterGradient& result = results[batch.selected[i]];
      result.id = batch.filters[i];
      for (int part = 0; part < kernels::kFilterHeadParts; ++part)
        result.loss += parts[i * kernels::kFilterHeadParts + part];
      result.loss /= static_cast<double>(network_.map_extent(result.id.layer, options_.extent).positions());
      result.gradient = cuda::to_host(gradients.data() + i * size, size);
      result.masks = passes.masks(static_cast<int>(i));
    }
  }

  cuda::PlanUse use_of(const BatchPlan& plan, std::stop_token stop,
                       RenderObserver* observer = nullptr) const {
    const std::int64_t iterations =
        std::max<std::int64_t>(recipe_.iterations, options_.profile_count > 0 ? kProfiledIterations : 0);
    cuda::PlanUse use{.iterations = iterations * std::ssize(plan.batches), .stop = std::move(stop)};
    if (observer != nullptr)
      use.on_notice = [observer](const std::string& text) { observer->on_notice(text); };
    return use;
  }

  void render_all(std::span<const FilterId> filters, RenderObserver& observer, const std::stop_token& stop) {
    const cuda::nvtx::Range range("run");
    if (!missing_.empty())
      observer.on_notice(fmt::format("{}. Going on with the project's own kernels.", missing_));
    int largest = timed(phases_.plans, [&] { return largest_batch(filters); });
    std::vector<FilterId> left(filters.begin(), filters.end());
    while (!left.empty() && !stop.stop_requested()) {
      BatchPlan plan = timed(phases_.plans, [&] { return std::move(plan_batches(left, largest).front()); });
      try {
        const std::vector<FilterId> taken = ascend_all(plan, filters, observer, stop);
        std::erase_if(left, [&](FilterId id) { return std::ranges::binary_search(taken, id); });
      } catch (const cuda::OutOfMemory& error) {
        largest = std::min(largest, plan.geometry.images()) / 2;
        if (largest == 0 || options_.reproducible) throw too_little_memory(error, plan.geometry.images());
        observer.on_notice(fmt::format("cuda:{} is {}; going on with at most {} at once.", index_,
                                       error.what(), counted(largest, "filter")));
      }
    }
  }

  // The filters of all batches of the plan, ascending. Throws OutOfMemory, at the first iteration of the
  // first of them at the latest: nothing of the plan has been reported or delivered then.
  std::vector<FilterId> ascend_all(BatchPlan& plan, std::span<const FilterId> filters,
                                   RenderObserver& observer, const std::stop_token& stop) {
    std::optional<AscentLoop> ascent;
    {
      const PhaseTimer timer(phases_.plans);
      ascent.emplace(network_, recipe_, options_, precision_, device_weights_,
                     planner_.make(plan.geometry, use_of(plan, stop, &observer)));
    }
    const PhaseTimer timer(phases_.ascent);
    std::vector<FilterId> taken = place(plan, filters);
    const auto lost = [&](const char* reason) {
      while (ascent->has_arrived_results()) deliver_one(*ascent, observer);
      return Error(ErrorKind::device,
                   fmt::format("cuda:{} ({}) failed during the ascent: {}. What had arrived of its "
                               "results is delivered",
                               index_, device_.name, reason));
    };
    try {
      for (const cuda::Assignment& batch : plan.batches) {
        if (stop.stop_requested() || !ascend(*ascent, batch, observer, stop)) break;
      }
      while (ascent->has_results()) deliver_one(*ascent, observer);
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::device) throw;  // The observer's.
      throw lost(error.what());
    } catch (const kernels::LaunchError& error) {
      throw lost(error.what());
    }
    return taken;
  }

  std::vector<BatchPlan> plan_batches(std::span<const FilterId> filters, int largest) const {
    const int layers = network_.layer_count();
    return options_.reproducible ? cuda::plan_fixed_batches(filters, layers, largest)
                                 : cuda::plan_batches(filters, layers, largest);
  }

  // The most filters at once that memory and the kernels allow.
  int largest_batch(std::span<const FilterId> filters) const {
    if (options_.batch > 0) return options_.batch;
    if (options_.reproducible) return kReproducibleBatch;
    std::int64_t elements = 1;  // Of one image's largest map.
    for (int layer = 0; layer < network_.layer_count(); ++layer) {
      elements = std::max(elements, network_.map_extent(layer, options_.extent).positions() *
                                        network_.convolutions[layer].out_channels);
    }
    auto largest = static_cast<int>(std::clamp<std::int64_t>(kLargestTensor / elements, 1, 1 << 14));
    largest = std::min(largest, static_cast<int>(filters.size()));
    largest = limit_by_frames(largest, recipe_, options_);  // They also take as much of the host's memory.
    std::size_t free = 0;
    std::size_t total = 0;
    cuda::check(cudaMemGetInfo(&free, &total), "asking for free memory");
    const double budget =
        kMemoryShare * static_cast<double>(free) - static_cast<double>(std::min(kReservedBytes, free / 4));
    const auto needs = [&](int batch) {
      double most = 0;
      for (const BatchPlan& plan : plan_batches(filters, batch)) {
        most = std::max(most, static_cast<double>(AscentLoop::device_bytes(network_, recipe_, options_,
                                                                           precision_, plan.geometry)));
      }
      return most;
    };
    for (double bytes = needs(largest); largest > 1 && bytes > budget; bytes = needs(largest)) {
      largest = std::max(1, std::min(largest - 1, static_cast<int>(largest * budget / bytes)));
    }
    return largest;
  }

  Error too_little_memory(const cuda::OutOfMemory& error, int images) const {
    return Error(
        ErrorKind::device,
        fmt::format("cuda:{}: {} for {} of {} at {}; free some, take a smaller --size{}, or use --device cpu",
                    index_, error.what(), counted(images, "image"), size_text(options_.extent),
                    to_string(precision_), images == 1 ? "" : " or --batch"));
  }

  // Numbers the plan's filters by their place in `all`, and returns them, ascending.
  static std::vector<FilterId> place(BatchPlan& plan, std::span<const FilterId> all) {
    std::vector<FilterId> filters;
    for (cuda::Assignment& batch : plan.batches) {
      for (std::size_t i = 0; i < batch.filters.size(); ++i) {
        if (batch.selected[i] == cuda::Assignment::kNone) continue;
        batch.selected[i] = std::ranges::lower_bound(all, batch.filters[i]) - all.begin();
        filters.push_back(batch.filters[i]);
      }
    }
    std::ranges::sort(filters);
    return filters;
  }

  // Whether the batch came to its end; false: stopped. Meanwhile delivers the results of the batch before.
  // While there are iterations to enqueue it never waits for the observer.
  bool ascend(AscentLoop& ascent, const cuda::Assignment& batch, RenderObserver& observer,
              const std::stop_token& stop) {
    const cuda::nvtx::Range range("batch");
    const auto filters = static_cast<std::int64_t>(std::ranges::count_if(
        batch.selected, [](std::int64_t selected) { return selected != cuda::Assignment::kNone; }));
    ascent.start(batch);
    int reported = 0;
    const auto attend = [&] {
      const int finished = ascent.finished_iterations();
      if (finished > reported) observer.on_progress((finished - reported) * filters);
      reported = finished;
      if (ascent.has_results() && ascent.results_arrived()) deliver_some(ascent, observer);
      return finished;
    };
    for (int iteration = 1; iteration <= recipe_.iterations; ++iteration) {
      while (iteration - attend() > kIterationsAhead) {
        if (stop.stop_requested()) return false;
        std::this_thread::sleep_for(kPollInterval);
      }
      if (stop.stop_requested()) return false;
      iterate(ascent);
    }
    while (ascent.has_results()) deliver_one(ascent, observer);
    remember_plan(ascent.plan());
    ascent.finish();
    while (attend() < recipe_.iterations) {
      if (stop.stop_requested()) return true;  // All is enqueued: the batch is taken all the same.
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
  ThreadTeam team_;  // Lays out weights, and compares the results of kernels.
  const int index_;
  const Libraries libraries_;
  const std::string missing_;
  cudaDeviceProp device_{};
  PhaseSeconds phases_;
  cuda::Planner planner_;
  cuda::DeviceWeights device_weights_;
  std::vector<std::string> plans_;
  int enqueued_ = 0;  // Iterations of the run.
};

}  // namespace

std::unique_ptr<Engine> make_cuda_engine(const Network& network, const Weights& weights, const Recipe& recipe,
                                         const RenderOptions& options, CudaBackend backend) {
  return std::make_unique<CudaEngine>(network, weights, recipe, options, std::move(backend));
}

}  // namespace filterscope
