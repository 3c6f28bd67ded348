#include "renderer.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <map>
#include <set>
#include <string>
#include <utility>

#include "../base/out_of_memory.h"
#include "../base/text.h"
#include "engine.h"
#include "validation.h"

namespace filterscope {

namespace {

// Changes the indices of a schedule for some of a run's filters into indices into `all`.
void number_among(std::span<const FilterId> all, std::vector<BatchGroup>& groups) {
  for (BatchGroup& group : groups) {
    for (Batch& batch : group.batches) {
      for (std::size_t i = 0; i < batch.filters.size(); ++i) {
        if (batch.indices[i] != Batch::kPadding)
          batch.indices[i] = std::ranges::lower_bound(all, batch.filters[i]) - all.begin();
      }
    }
  }
}

}  // namespace

// Passes everything on, and remembers which filters are finished. Holds back results that are not finite: the
// engine may be able to keep them finite.
class FinishedFilters final : public RenderObserver {
 public:
  explicit FinishedFilters(RenderObserver& observer) : observer_(observer) {}

  void on_finished(FilterResult result) override {
    finished_.insert(result.id);
    if (result.status == FilterStatus::nonfinite) {
      nonfinite_[result.id] = std::move(result);
    } else {
      observer_.on_finished(std::move(result));
    }
  }
  bool has_room(std::size_t bytes) override { return observer_.has_room(bytes); }
  void on_progress(std::int64_t steps) override {
    if (!again_) observer_.on_progress(steps);
  }
  void on_loss(FilterId id, TracePoint point) override { observer_.on_loss(id, point); }
  void on_notice(const std::string& text) override { observer_.on_notice(text); }

  std::vector<FilterId> unfinished(std::span<const FilterId> filters) const {
    std::vector<FilterId> left;
    std::ranges::copy_if(filters, std::back_inserter(left),
                         [&](FilterId id) { return !finished_.contains(id); });
    return left;
  }

  bool has_nonfinite() const { return !nonfinite_.empty(); }
  /// Takes back the filters that are not finite. The steps of another try are no progress: they were counted.
  void try_again() {
    for (const auto& [id, result] : nonfinite_) finished_.erase(id);
    nonfinite_.clear();
    again_ = true;
  }
  /// Passes on what is held back.
  void release() {
    for (auto& [id, result] : nonfinite_) observer_.on_finished(std::move(result));
    nonfinite_.clear();
  }

 private:
  RenderObserver& observer_;
  std::set<FilterId> finished_;
  std::map<FilterId, FilterResult> nonfinite_;
  bool again_ = false;
};

Renderer::Renderer(const Network& network, const Weights& weights, const Recipe& recipe,
                   const RenderOptions& options, std::unique_ptr<Engine> engine)
    : network_(network), weights_(weights), recipe_(recipe), options_(options), engine_(std::move(engine)) {}

Renderer::~Renderer() = default;

EngineDescription Renderer::describe() const {
  return engine_->describe();
}

PhaseSeconds Renderer::phases() const {
  PhaseSeconds phases = engine_->phases();
  phases.plans += planning_seconds_;
  return phases;
}

Schedule Renderer::schedule(std::span<const FilterId> filters) {
  require_filters(network_, filters);
  return make_schedule(filters, recipe_, options_, engine_->batch_limits(),
                       [this](const BatchLayout& layout) { return engine_->batch_bytes(layout); });
}

std::optional<double> Renderer::estimate(std::span<const FilterId> filters, double share,
                                         const std::stop_token& stop) {
  const PhaseTimer timer(planning_seconds_);
  const Schedule schedule = this->schedule(filters);
  require_weights(network_, weights_, filters);
  struct Sample {
    const BatchGroup* group;
    double images;  // Of all groups that the sample stands for.
  };
  std::vector<Sample> samples;
  double timed_flops = 0;
  double flops = 0;
  for (const BatchGroup& group : schedule.groups) {
    const BatchLayout& layout = group.layout;
    const double images = static_cast<double>(group.batches.size()) * layout.images();
    // Batches of one layer whose sizes differ by one take the same time per image.
    const bool alike =
        !samples.empty() && samples.back().group->layout.deepest_layer() == layout.deepest_layer();
    for (std::size_t stage = 0; stage < recipe_.stages.size(); ++stage) {
      const double image_flops = flops_per_image(layout, stage);
      flops += image_flops * images * recipe_.stages[stage].iterations;
      if (!alike) timed_flops += image_flops * engine_->timed_iterations(group, stage);
    }
    if (alike) {
      samples.back().images += images;
    } else {
      samples.push_back({&group, images});
    }
  }
  if (timed_flops > share * flops) return std::nullopt;
  double seconds = 0;
  for (const Sample& sample : samples) {
    try {
      for (std::size_t stage = 0; stage < recipe_.stages.size(); ++stage) {
        const std::optional<double> of_image = engine_->seconds_per_image(*sample.group, stage, stop);
        if (!of_image) return std::nullopt;
        seconds += *of_image * sample.images * recipe_.stages[stage].iterations;
      }
    } catch (const OutOfMemory& error) {
      throw too_little_memory(error, sample.group->layout);
    }
  }
  return seconds;
}

// Floating-point operations of an iteration, on average over the images of a batch.
double Renderer::flops_per_image(const BatchLayout& layout, std::size_t stage) const {
  const Extent canvas = canvas_extent(recipe_.stages[stage]);
  double flops = 0;
  for (int layer = 0; layer <= layout.deepest_layer(); ++layer)
    flops += layout.targeting(layer) * network_.iteration_flops(layer, canvas);
  return flops / layout.images();
}

void Renderer::render(std::span<const FilterId> filters, RenderObserver& observer,
                      const std::stop_token& stop) {
  require_filters(network_, filters);
  require_start_images(options_, filters);
  require_objective(network_, recipe_, filters);
  require_weights(network_, weights_, filters);
  if (const std::string notice = engine_->notice(); !notice.empty()) observer.on_notice(notice);
  Schedule schedule = timed(planning_seconds_, [&] { return this->schedule(filters); });
  observer.on_schedule(schedule);
  FinishedFilters finished(observer);
  ascend(schedule, filters, finished, stop);
  while (finished.has_nonfinite() && !stop.stop_requested() && engine_->extend_range()) {
    finished.try_again();
    const std::vector<FilterId> again = finished.unfinished(filters);
    schedule.groups = cut_batches(again, schedule.form, schedule.images);
    number_among(filters, schedule.groups);
    ascend(schedule, filters, finished, stop);
  }
  finished.release();
}

// Works through a schedule for some of `filters`, with smaller batches where memory runs out.
void Renderer::ascend(Schedule& schedule, std::span<const FilterId> filters, FinishedFilters& finished,
                      const std::stop_token& stop) {
  for (std::size_t group = 0; group < schedule.groups.size() && !stop.stop_requested();) {
    const BatchLayout& layout = schedule.groups[group].layout;
    try {
      engine_->ascend(schedule.groups[group], finished, stop);
      ++group;
    } catch (const OutOfMemory& error) {
      const int images = std::min(schedule.images, layout.images()) / 2;
      if (images == 0 || schedule.form == BatchForm::fixed) throw too_little_memory(error, layout);
      finished.on_notice(fmt::format("{} is {}; continuing with at most {} at once.", describe().device,
                                     error.what(), counted(images, "filter")));
      schedule.groups = cut_batches(finished.unfinished(filters), schedule.form, images);
      schedule.images = images;
      number_among(filters, schedule.groups);
      group = 0;
    }
  }
}

std::vector<FilterGradient> Renderer::gradients(std::span<const FilterId> filters,
                                                std::span<const float> images) {
  require_filters(network_, filters);
  require_images(recipe_, filters, images);
  require_objective(network_, recipe_, filters);
  require_weights(network_, weights_, filters);
  std::vector<FilterGradient> results(filters.size());
  for (const BatchGroup& group : schedule(filters).groups) {
    try {
      engine_->find_gradients(group, images, results);
    } catch (const OutOfMemory& error) {
      throw too_little_memory(error, group.layout);
    }
  }
  return results;
}

Error Renderer::too_little_memory(const OutOfMemory& error, const BatchLayout& layout) const {
  const EngineDescription engine = describe();
  const std::string bytes =
      error.bytes() == 0 ? ""
                         : fmt::format(" ({:.1f} MB at once)", 1e-6 * static_cast<double>(error.bytes()));
  return {ErrorKind::device,
          fmt::format("{}: {} for {} of {} at {}{}; give a smaller --size{}, or {}", engine.device,
                      error.what(), counted(layout.images(), "image"), size_text(recipe_.last().extent),
                      to_string(engine.precision), bytes, layout.images() == 1 ? "" : " or --batch",
                      engine_->memory_advice())};
}

}  // namespace filterscope
