#include "engine.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cmath>
#include <fstream>
#include <limits>

#include "../ascent/ascent.h"
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
        team_(options.threads > 0 ? options.threads : default_threads()),
        planner_(network, weights, options.extent,
                 options.reproducible ? cpu::PlanRule::fixed : cpu::PlanRule::automatic) {
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
    return cpu::passes_bytes(network_, planner_, layout.deepest_layer(), layout.images()) +
           2 * sizeof(float) * image_size() * layout.images() +
           (frame_bytes(recipe_, options_) + result_bytes()) * layout.images();
  }

  std::string memory_advice() const override { return exhaustion_advice(ENOMEM); }

  double timed_iterations(const BatchGroup& group) const override {
    return static_cast<double>(timed_images(group)) * (1 + kTimedRuns);
  }

  std::optional<double> seconds_per_image(const BatchGroup& group, const std::stop_token& stop) override {
    const ThreadTeam::Scope scope(&team_);
    Batch batch = group.batches.front();
    batch.filters.resize(timed_images(group));
    cpu::NetworkPasses passes = make_passes(batch);
    cpu::AlignedBuffer<float> images(image_size() * batch.filters.size());
    cpu::AlignedBuffer<float> gradients(images.size());
    std::vector<double> losses(batch.filters.size());
    for (std::size_t i = 0; i < batch.filters.size(); ++i)
      fill_initial_image(batch.filters[i], 0, images.span().subspan(i * image_size(), image_size()));
    double best = std::numeric_limits<double>::infinity();
    for (int run = 0; run <= kTimedRuns; ++run) {
      const auto start = std::chrono::steady_clock::now();
      if (!passes.loss_and_gradient(images.data(), losses.data(), gradients.data(), stop))
        return std::nullopt;
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
      cpu::NetworkPasses passes = make_passes(batch);
      cpu::AlignedBuffer<float> own_images(image_size() * count);
      cpu::AlignedBuffer<float> found(image_size() * count);
      std::vector<double> losses(count);
      std::ranges::copy(images.subspan(image_size() * batch.indices.front(), image_size() * count),
                        own_images.data());
      passes.loss_and_gradient(own_images.data(), losses.data(), found.data());
      for (std::size_t i = 0; i < count; ++i) {
        const auto gradient = found.span().subspan(image_size() * i, image_size());
        results[batch.indices[i]] = {.id = batch.filters[i],
                                     .loss = losses[i],
                                     .gradient = {gradient.begin(), gradient.end()},
                                     .masks = std::nullopt};
      }
    }
  }

 private:
  std::size_t image_size() const { return static_cast<std::size_t>(options_.extent.positions()) * 3; }

  // Bytes of a result that waits for the others of its batch.
  std::size_t result_bytes() const { return image_size() * (1 + (options_.keep_images ? sizeof(float) : 0)); }

  // Number of images timed for an estimate.
  std::size_t timed_images(const BatchGroup& group) const {
    const double flops = network_.iteration_flops(group.layout.deepest_layer(), options_.extent);
    const auto enough =
        static_cast<std::size_t>(std::ceil(kTimedOperations * std::max(1, team_.count() / 2) / flops));
    return std::min(static_cast<std::size_t>(group.layout.images()), enough);
  }

  cpu::NetworkPasses make_passes(const Batch& batch) {
    std::vector<int> filters;
    for (const FilterId id : batch.filters) filters.push_back(id.filter);
    return {network_,
            weights_,
            recipe_,
            planner_,
            planner_.make(batch.filters.front().layer, static_cast<int>(filters.size())),
            filters};
  }

  // The start image of a filter; `index` is its number in the whole run.
  void fill_initial_image(FilterId id, std::int64_t index, std::span<float> image) const {
    const InitialImages& given = options_.initial_images;
    if (given.count == 0) {
      initial_noise(recipe_.initial_image, options_.seed, id, image);
      return;
    }
    const std::int64_t at = given.count == 1 ? 0 : index;
    std::copy_n(given.values.data() + at * image.size(), image.size(), image.data());
  }

  void ascend(const Batch& batch, RenderObserver& observer, const std::stop_token& stop) {
    const int count = static_cast<int>(batch.filters.size());
    cpu::NetworkPasses passes = timed(phases_.plans, [&] { return make_passes(batch); });
    const PhaseTimer timer(phases_.ascent);
    remember_plan(passes.plan());
    const int trace_every = options_.trace_every > 0 ? options_.trace_every : recipe_.trace_every();
    cpu::AlignedBuffer<float> images(image_size() * count);
    cpu::AlignedBuffer<float> gradients(image_size() * count);
    std::vector<double> losses(count);
    std::vector<double> squares(count);
    std::vector<FilterResult> results(count);
    const auto image = [&](int i) { return images.span().subspan(image_size() * i, image_size()); };
    const auto gradient = [&](int i) { return gradients.span().subspan(image_size() * i, image_size()); };
    for (int i = 0; i < count; ++i) {
      results[i].id = batch.filters[i];
      results[i].trace.reserve(recipe_.iterations / trace_every);
      fill_initial_image(results[i].id, batch.indices[i], image(i));
    }

    int climbing = count;
    for (int iteration = 1; iteration <= recipe_.iterations && climbing > 0; ++iteration) {
      if (!passes.loss_and_gradient(images.data(), losses.data(), gradients.data(), stop)) return;
      parallel_for(count, [&](int i) { squares[i] = sum_of_squares(gradient(i)); });
      for (int i = 0; i < count; ++i) {
        FilterResult& result = results[i];
        if (result.status != FilterStatus::ok) continue;
        const float loss = static_cast<float>(losses[i]);
        if (iteration == 1) result.first_loss = loss;
        result.final_loss = loss;
        result.gradient_norm = static_cast<float>(std::sqrt(squares[i]));
        if (recipe_.rescue && losses[i] == 0) {
          ++result.rescued_iterations;
          result.alive_from = iteration + 1;
        }
        if (!std::isfinite(loss) || !std::isfinite(result.gradient_norm)) {
          result.status = FilterStatus::nonfinite;
        } else if (squares[i] == 0) {
          result.status = FilterStatus::dead;
          // Its image no longer changes, hence neither does its loss.
          for (int rest = iteration; rest <= recipe_.iterations; ++rest) {
            if (rest % trace_every == 0) trace(result, rest, observer);
          }
        } else if (iteration % trace_every == 0) {
          trace(result, iteration, observer);
        }
        if (result.status != FilterStatus::ok) --climbing;
      }
      parallel_for(count, [&](int i) {
        if (results[i].status != FilterStatus::ok) return;
        if (options_.frame_every > 0 && (iteration - 1) % options_.frame_every == 0)
          results[i].frames.push_back(picture_of(image(i)));
        normalise_and_step(recipe_, squares[i], gradient(i), image(i));
        results[i].iterations = iteration;
      });
      observer.on_progress(climbing == 0 ? std::int64_t{count} * (recipe_.iterations - iteration + 1)
                                         : count);
    }
    if (climbing > 0) passes.loss(images.data(), losses.data());
    for (int i = 0; i < count; ++i) {
      FilterResult& result = results[i];
      if (result.status == FilterStatus::ok) {
        result.final_loss = static_cast<float>(losses[i]);
        result.status = final_status(result, losses[i]);
      }
      if (result.status != FilterStatus::rescued) result.alive_from = 0;
      result.picture = picture_of(image(i));
      result.frame_every = options_.frame_every;
      if (options_.frame_every > 0) result.frames.push_back(result.picture);
      if (options_.keep_images) result.image.assign(image(i).begin(), image(i).end());
      observer.on_finished(std::move(result));
    }
  }

  // Status of an ascent that took all its steps.
  static FilterStatus final_status(const FilterResult& result, double loss) {
    if (!std::isfinite(result.final_loss)) return FilterStatus::nonfinite;
    if (loss == 0) return FilterStatus::dead;
    return result.rescued_iterations > 0 ? FilterStatus::rescued : FilterStatus::ok;
  }

  std::vector<std::uint8_t> picture_of(std::span<const float> image) const {
    std::vector<std::uint8_t> picture(image.size());
    encode_picture(recipe_.picture_mapping, image, picture);
    return picture;
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
  ThreadTeam team_;
  cpu::Planner planner_;
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
