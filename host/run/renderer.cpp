#include "renderer.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "../base/text.h"
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

// The filters of these groups, ascending.
std::vector<FilterId> filters_of(std::span<const BatchGroup> groups) {
  std::vector<FilterId> filters;
  for (const BatchGroup& group : groups) {
    for (const Batch& batch : group.batches) {
      for (std::size_t i = 0; i < batch.filters.size(); ++i) {
        if (batch.indices[i] != Batch::kPadding) filters.push_back(batch.filters[i]);
      }
    }
  }
  std::ranges::sort(filters);
  return filters;
}

}  // namespace

Renderer::Renderer(const Network& network, const Weights& weights, const Recipe& recipe,
                   const RenderOptions& options, std::unique_ptr<Engine> engine)
    : network_(network), weights_(weights), recipe_(recipe), options_(options), engine_(std::move(engine)) {}

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
    double iterations;  // Image iterations of all groups that the sample stands for.
  };
  std::vector<Sample> samples;
  double timed_flops = 0;
  double flops = 0;
  for (const BatchGroup& group : schedule.groups) {
    const BatchLayout& layout = group.layout;
    double batch_flops = 0;
    for (int layer = 0; layer <= layout.deepest_layer(); ++layer)
      batch_flops += layout.targeting(layer) * network_.iteration_flops(layer, options_.extent);
    const double image_flops = batch_flops / layout.images();
    const double iterations =
        static_cast<double>(group.batches.size()) * layout.images() * recipe_.iterations;
    flops += image_flops * iterations;
    // Batches of one layer whose sizes differ by one take the same time per image.
    if (!samples.empty() && samples.back().group->layout.deepest_layer() == layout.deepest_layer()) {
      samples.back().iterations += iterations;
      continue;
    }
    samples.push_back({&group, iterations});
    timed_flops += image_flops * engine_->timed_iterations(group);
  }
  if (timed_flops > share * flops) return std::nullopt;
  double seconds = 0;
  for (const Sample& sample : samples) {
    try {
      const std::optional<double> of_image = engine_->seconds_per_image(*sample.group, stop);
      if (!of_image) return std::nullopt;
      seconds += *of_image * sample.iterations;
    } catch (const OutOfMemory& error) {
      throw too_little_memory(error, sample.group->layout);
    }
  }
  return seconds;
}

void Renderer::render(std::span<const FilterId> filters, RenderObserver& observer,
                      const std::stop_token& stop) {
  require_filters(network_, filters);
  require_start_images(options_, filters);
  require_weights(network_, weights_, filters);
  const BatchForm form = engine_->batch_limits().form;
  Schedule schedule = timed(planning_seconds_, [&] { return this->schedule(filters); });
  for (std::size_t done = 0; done < schedule.groups.size() && !stop.stop_requested();) {
    const BatchGroup& group = schedule.groups[done];
    try {
      engine_->ascend(group, observer, stop);
      ++done;
    } catch (const OutOfMemory& error) {
      const int images = std::min(schedule.images, group.layout.images()) / 2;
      if (images == 0 || form == BatchForm::fixed) throw too_little_memory(error, group.layout);
      observer.on_notice(fmt::format("{} is {}; going on with at most {} at once.", describe().device,
                                     error.what(), counted(images, "filter")));
      const std::vector<FilterId> left = filters_of(std::span(schedule.groups).subspan(done));
      schedule = {cut_batches(left, form, images), images, error.what()};
      number_among(filters, schedule.groups);
      done = 0;
    }
  }
}

std::vector<FilterGradient> Renderer::gradients(std::span<const FilterId> filters,
                                                std::span<const float> images) {
  require_filters(network_, filters);
  require_images(options_, filters, images);
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
  return {
      ErrorKind::device,
      fmt::format("{}: {} for {} of {} at {}; give a smaller --size{}, or {}", engine.device, error.what(),
                  counted(layout.images(), "image"), size_text(options_.extent), to_string(engine.precision),
                  layout.images() == 1 ? "" : " or --batch", engine_->memory_advice())};
}

}  // namespace filterscope
