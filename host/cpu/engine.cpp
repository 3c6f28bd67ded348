#include "engine.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cmath>
#include <fstream>
#include <limits>
#include <memory>
#include <optional>

#include "../ascent/operations/picture.h"
#include "../ascent/stage_program.h"
#include "../base/error.h"
#include "../base/exhaustion.h"
#include "../base/memory.h"
#include "../base/processors.h"
#include "../base/text.h"
#include "../base/threads.h"
#include "aligned.h"
#include "kernels.h"
#include "network_passes.h"
#include "plan.h"
#include "stage_images.h"

namespace filterscope {

namespace {

// Small maps need this many images to reuse their weights; more gain nothing and delay the pictures.
constexpr int kSmallestAutomaticBatch = 16;
constexpr int kLargestAutomaticBatch = 64;
// Share of the available memory that batches may take; the rest is for pictures and threads.
constexpr double kMemoryShare = 0.8;
// An estimate times this many runs after a warm-up, with at most as many filters as make this much work for
// two threads, a few seconds.
constexpr int kTimedRuns = 2;
constexpr double kTimedOperations = 2e11;
// After a run this long no other is needed: warming up is a small part of it.
constexpr double kLongRunSeconds = 1;

std::string processor_name() {
  std::ifstream cpuinfo("/proc/cpuinfo");
  for (std::string line; std::getline(cpuinfo, line);) {
    if (line.starts_with("model name")) {
      const std::size_t colon = line.find(": ");
      if (colon != std::string::npos) return line.substr(colon + 2);
    }
  }
  return "unknown processor";
}

class CpuEngine final : public Engine {
 public:
  CpuEngine(const Network& network, const Weights& weights, const Recipe& recipe,
            const RenderOptions& options)
      : network_(network),
        weights_(weights),
        recipe_(recipe),
        options_(options),
        trace_every_(options.trace_every > 0 ? options.trace_every : recipe.trace_every()),
        team_(options.threads > 0 ? options.threads : default_threads()) {
    const auto transformed = std::make_shared<cpu::Planner::TransformedLayers>();
    int earlier = 0;
    for (const Stage& stage : recipe_.stages) {
      planners_.emplace_back(network_, weights_, canvas_extent(stage),
                             options.reproducible ? cpu::PlanRule::fixed : cpu::PlanRule::automatic,
                             transformed);
      programs_.emplace_back(stage, options.seed, earlier);
      earlier += stage.iterations;
    }
    cpu::kernels();  // Throws now, not in the middle of the run, if the chosen kernels do not exist.
  }

  EngineDescription describe() const override {
    return {.device = "cpu",
            .device_name = processor_,
            .precision = Precision::fp32,
            .threads = team_.count(),
            .libraries = {},
            .plans = plans_};
  }

  PhaseSeconds phases() const override { return phases_; }

  BatchLimits batch_limits() override {
    int images = kSmallestAutomaticBatch;
    while (images < 4 * team_.count() && images < kLargestAutomaticBatch) images *= 2;
    BatchLimits limits{.form = BatchForm::one_layer,
                       .images = images,
                       .reason = fmt::format("enough for {}", counted(team_.count(), "thread")),
                       .memory = std::nullopt};
    if (const auto available = available_memory())
      limits.memory = static_cast<std::size_t>(kMemoryShare * static_cast<double>(*available));
    return limits;
  }

  std::size_t batch_bytes(const BatchLayout& layout) override {
    const ThreadTeam::Scope scope(&team_);
    std::size_t most = 0;
    std::size_t before = 0;  // The images of the stage before, which the next one starts from.
    for (std::size_t stage = 0; stage < planners_.size(); ++stage) {
      const std::size_t images = cpu::StageImages::bytes(programs_[stage]) * layout.images();
      most = std::max(
          most, before + images +
                    cpu::passes_bytes(network_, planners_[stage], layout.deepest_layer(), layout.images()));
      before = images;
    }
    return most + (frame_bytes(recipe_, options_) + result_bytes()) * layout.images();
  }

  std::string memory_advice() const override { return exhaustion_advice(ENOMEM); }

  double timed_iterations(const BatchGroup& group, std::size_t stage) const override {
    return static_cast<double>(timed_images(group, stage)) * (1 + kTimedRuns);
  }

  std::optional<double> seconds_per_image(const BatchGroup& group, std::size_t stage,
                                          const std::stop_token& stop) override {
    const ThreadTeam::Scope scope(&team_);
    Batch batch = group.batches.front();
    batch.filters.resize(timed_images(group, stage));
    cpu::NetworkPasses passes = make_passes(stage, batch);
    cpu::StageImages images(programs_[stage], batch.filters);
    std::vector<double> losses(batch.filters.size());
    std::vector<double> squares(batch.filters.size());
    images.start();
    double best = std::numeric_limits<double>::infinity();
    for (int run = 0; run <= kTimedRuns; ++run) {
      const auto start = std::chrono::steady_clock::now();
      images.show(1);
      if (!passes.loss_and_gradient(images.canvases(), losses.data(), images.canvas_gradients(), stop))
        return std::nullopt;
      images.differentiate(1, squares);
      const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - start;
      const bool warm = run > 0 || taken.count() > kLongRunSeconds;
      if (warm) best = std::min(best, taken.count());
      if (taken.count() > kLongRunSeconds) break;
    }
    return best / static_cast<double>(batch.filters.size());
  }

  void ascend(const BatchGroup& group, RenderObserver& observer, const std::stop_token& stop) override {
    const ThreadTeam::Scope scope(&team_);
    for (const Batch& batch : group.batches) {
      if (stop.stop_requested()) return;
      ascend(batch, observer, stop);
    }
  }

  void find_gradients(const BatchGroup& group, std::span<const float> images,
                      std::span<FilterGradient> results) override {
    const ThreadTeam::Scope scope(&team_);
    for (const Batch& batch : group.batches) {
      const std::size_t count = batch.filters.size();
      const std::size_t size = programs_.front().canvas_size();
      cpu::NetworkPasses passes = make_passes(0, batch);
      cpu::AlignedBuffer<float> own_images(size * count);
      cpu::AlignedBuffer<float> found(size * count);
      std::vector<double> losses(count);
      std::ranges::copy(images.subspan(size * batch.indices.front(), size * count), own_images.data());
      passes.loss_and_gradient(own_images.data(), losses.data(), found.data());
      for (std::size_t i = 0; i < count; ++i) {
        const auto gradient = found.span().subspan(size * i, size);
        results[batch.indices[i]] = {.id = batch.filters[i],
                                     .loss = losses[i],
                                     .gradient = {gradient.begin(), gradient.end()},
                                     .masks = std::nullopt};
      }
    }
  }

 private:
  // Bytes of a result that waits for the others of its batch.
  std::size_t result_bytes() const {
    return static_cast<std::size_t>(recipe_.picture_extent().positions()) * 3 +
           (options_.keep_images ? programs_.back().image_size() * sizeof(float) : 0);
  }

  // Number of images timed for an estimate.
  std::size_t timed_images(const BatchGroup& group, std::size_t stage) const {
    const double flops = network_.iteration_flops(group.layout.deepest_layer(), programs_[stage].canvas());
    const auto enough =
        static_cast<std::size_t>(std::ceil(kTimedOperations * std::max(1, team_.count() / 2) / flops));
    return std::min(static_cast<std::size_t>(group.layout.images()), enough);
  }

  cpu::NetworkPasses make_passes(std::size_t stage, const Batch& batch) {
    std::vector<int> filters;
    for (const FilterId id : batch.filters) filters.push_back(id.filter);
    cpu::Planner& planner = planners_[stage];
    return {network_,
            weights_,
            recipe_.stages[stage],
            planner,
            planner.make(batch.filters.front().layer, static_cast<int>(filters.size())),
            filters};
  }

  // The start image that was given for a filter; `index` is its number in the whole run.
  std::span<const float> given_image(std::int64_t index) const {
    const InitialImages& given = options_.initial_images;
    const std::size_t size = programs_.front().image_size();
    return std::span(given.values).subspan(given.count == 1 ? 0 : index * size, size);
  }

  void ascend(const Batch& batch, RenderObserver& observer, const std::stop_token& stop) {
    std::vector<FilterResult> results(batch.filters.size());
    for (std::size_t i = 0; i < results.size(); ++i) {
      results[i].id = batch.filters[i];
      results[i].trace.reserve(recipe_.iterations() / trace_every_);
    }
    std::unique_ptr<cpu::StageImages> images;
    int earlier = 0;  // Iterations of the stages before.
    for (std::size_t stage = 0; stage < recipe_.stages.size(); ++stage) {
      cpu::NetworkPasses passes = timed(phases_.plans, [&] { return make_passes(stage, batch); });
      const PhaseTimer timer(phases_.ascent);
      remember_plan(passes.plan());
      images = start(stage, batch, images.get());
      if (!climb(stage, earlier, passes, *images, results, observer, stop)) return;
      earlier += recipe_.stages[stage].iterations;
    }
    const PhaseTimer timer(phases_.ascent);
    for (std::size_t i = 0; i < results.size(); ++i) {
      FilterResult& result = results[i];
      if (result.status != FilterStatus::rescued) result.alive_from = 0;
      const std::span<const float> image = images->image(static_cast<int>(i));
      result.picture = encode_picture(recipe_.picture, image, recipe_.last().extent);
      result.frame_every = options_.frame_every;
      if (options_.frame_every > 0) result.frames.push_back(result.picture);
      if (options_.keep_images) result.image.assign(image.begin(), image.end());
      observer.on_finished(std::move(result));
    }
  }

  // The images that a stage starts from; `before` holds those that the stage before ended with.
  std::unique_ptr<cpu::StageImages> start(std::size_t stage, const Batch& batch,
                                          const cpu::StageImages* before) const {
    const StageProgram& program = programs_[stage];
    auto images = std::make_unique<cpu::StageImages>(program, batch.filters);
    const int count = static_cast<int>(batch.filters.size());
    if (before != nullptr) {
      const Extent from = recipe_.stages[stage - 1].extent;
      parallel_for(count, [&](int i) {
        std::vector<float> image(program.image_size());
        resample(program.stage().resampling, recipe_.picture, before->image(i), from, image,
                 program.stage().extent);
        images->start_from(i, image);
      });
    } else if (options_.initial_images.count > 0) {
      parallel_for(count, [&](int i) { images->start_from(i, given_image(batch.indices[i])); });
    } else {
      images->start();
    }
    return images;
  }

  // The iterations of one stage, and what the network says of its last images. Returns false if stopped.
  bool climb(std::size_t stage, int earlier, cpu::NetworkPasses& passes, cpu::StageImages& images,
             std::vector<FilterResult>& results, RenderObserver& observer, const std::stop_token& stop) {
    const Objective& objective = recipe_.stages[stage].objective;
    const bool last_stage = stage + 1 == recipe_.stages.size();
    const int iterations = recipe_.stages[stage].iterations;
    const int count = static_cast<int>(results.size());
    std::vector<double> losses(count);
    std::vector<double> squares(count);
    int climbing = 0;
    for (FilterResult& result : results) {
      // A larger image may have a gradient again.
      if (result.status == FilterStatus::dead) result.status = FilterStatus::ok;
      climbing += result.status == FilterStatus::ok;
    }
    for (int step = 1; step <= iterations && climbing > 0; ++step) {
      const int iteration = earlier + step;
      const bool framed = options_.frame_every > 0 && (iteration - 1) % options_.frame_every == 0;
      if (framed) take_frames(stage, images, results);
      images.show(step);
      if (!passes.loss_and_gradient(images.canvases(), losses.data(), images.canvas_gradients(), stop))
        return false;
      images.differentiate(step, squares);
      for (int i = 0; i < count; ++i) {
        FilterResult& result = results[i];
        if (result.status != FilterStatus::ok) continue;
        const float loss = static_cast<float>(losses[i]);
        if (iteration == 1) result.first_loss = loss;
        result.final_loss = loss;
        result.gradient_norm = static_cast<float>(std::sqrt(squares[i]));
        if (objective.rescues() && losses[i] == 0) {
          ++result.rescued_iterations;
          result.alive_from = iteration + 1;
        }
        if (!std::isfinite(loss) || !std::isfinite(result.gradient_norm)) {
          result.status = FilterStatus::nonfinite;
        } else if (squares[i] == 0 && programs_[stage].rests_without_gradient()) {
          result.status = FilterStatus::dead;
          // Its image no longer changes, hence neither does its loss.
          for (int rest = iteration; rest <= earlier + iterations; ++rest) {
            if (rest % trace_every_ == 0) trace(result, rest, observer);
          }
        } else if (iteration % trace_every_ == 0) {
          trace(result, iteration, observer);
        }
        if (result.status == FilterStatus::ok) continue;
        --climbing;
        if (framed) result.frames.pop_back();  // Its picture is that of the finished image.
      }
      parallel_for(count, [&](int i) {
        if (results[i].status != FilterStatus::ok) return;
        images.step(step, i, squares[i]);
        results[i].iterations = iteration;
      });
      observer.on_progress(climbing == 0 ? std::int64_t{count} * (iterations - step + 1) : count);
    }
    images.show(0);
    if (!last_stage || climbing == 0) return true;
    passes.loss(images.canvases(), losses.data());
    for (int i = 0; i < count; ++i) {
      FilterResult& result = results[i];
      if (result.status != FilterStatus::ok) continue;
      result.final_loss = static_cast<float>(losses[i]);
      result.status = final_status(objective, result, losses[i]);
    }
    return true;
  }

  // Adds pictures of the images as they are now, before an iteration changes them, to those that climb.
  void take_frames(std::size_t stage, cpu::StageImages& images, std::vector<FilterResult>& results) const {
    images.show(0);
    parallel_for(static_cast<int>(results.size()), [&](int i) {
      if (results[i].status == FilterStatus::ok) results[i].frames.push_back(frame(stage, images.image(i)));
    });
  }

  // A picture of an image of `stage`, as large as the finished one.
  std::vector<std::uint8_t> frame(std::size_t stage, std::span<const float> image) const {
    const Extent extent = recipe_.stages[stage].extent;
    const Extent last = recipe_.last().extent;
    if (extent == last) return encode_picture(recipe_.picture, image, extent);
    std::vector<float> resized(static_cast<std::size_t>(last.positions()) * 3);
    resample({}, recipe_.picture, image, extent, resized, last);
    return encode_picture(recipe_.picture, resized, last);
  }

  // Status of an ascent that took all its steps.
  static FilterStatus final_status(const Objective& objective, const FilterResult& result, double loss) {
    if (!std::isfinite(result.final_loss)) return FilterStatus::nonfinite;
    if (loss == 0 && !objective.before_relu) return FilterStatus::dead;
    return result.rescued_iterations > 0 ? FilterStatus::rescued : FilterStatus::ok;
  }

  static void trace(FilterResult& result, int iteration, RenderObserver& observer) {
    result.trace.push_back({iteration, result.final_loss});
    observer.on_loss(result.id, result.trace.back());
  }

  void remember_plan(const cpu::Plan& plan) {
    std::string description = plan.describe(network_);
    if (std::ranges::find(plans_, description) == plans_.end()) plans_.push_back(std::move(description));
  }

  const Network& network_;
  const Weights& weights_;
  const Recipe recipe_;
  const RenderOptions options_;
  const std::string processor_ = processor_name();  // Read once: later, too many files may be open.
  const int trace_every_;
  ThreadTeam team_;
  std::vector<cpu::Planner> planners_;  // One for each stage, like the programs.
  std::vector<StageProgram> programs_;
  std::vector<std::string> plans_;
  PhaseSeconds phases_;
};

}  // namespace

std::unique_ptr<Engine> make_cpu_engine(const Network& network, const Weights& weights, const Recipe& recipe,
                                        const RenderOptions& options) {
  if (options.precision != Precision::automatic && options.precision != Precision::fp32) {
    throw Error(ErrorKind::device,
                fmt::format("--precision {}: the CPU engine computes in fp32 only; expected auto or "
                            "fp32, or a CUDA device (--device cuda)",
                            to_string(options.precision)));
  }
  return std::make_unique<CpuEngine>(network, weights, recipe, options);
}

DeviceInfo cpu_device() {
  return {.id = "cpu",
          .name = processor_name(),
          .usable = true,
          .remark = fmt::format("{}, fp32, kernels: {}", counted(available_processors(), "core"),
                                cpu::kernels().name)};
}

}  // namespace filterscope
