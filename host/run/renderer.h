#pragma once

#include <memory>
#include <optional>
#include <span>
#include <stop_token>
#include <vector>

#include "../ascent/recipe.h"
#include "../base/error.h"
#include "../model/network.h"
#include "../model/weights/weights.h"
#include "engine_description.h"
#include "filter_gradient.h"
#include "observer.h"
#include "phases.h"
#include "render_options.h"
#include "schedule.h"

namespace filterscope {

class Engine;
class FinishedFilters;
class OutOfMemory;

/// Renders filters of one network with one set of weights and one recipe: validates requests, makes the
/// schedule, and has an engine work through it. For one thread at a time.
///
/// Everywhere `filters` are ascending, each once; a filter that the network lacks is a usage Error, missing
/// weights of a filter's layer or of one below it an input Error.
class Renderer {
 public:
  /// `network`, `weights` and what `engine` refers to must outlive it.
  Renderer(const Network& network, const Weights& weights, const Recipe& recipe, const RenderOptions& options,
           std::unique_ptr<Engine> engine);
  ~Renderer();

  EngineDescription describe() const;
  /// The engine's phases so far, with the time for schedules and estimates.
  PhaseSeconds phases() const;

  /// The batches that render() makes of these filters as long as memory suffices.
  Schedule schedule(std::span<const FilterId> filters);

  /// Seconds that render() of these filters would take, from timed iterations of each of their layers.
  /// Nothing where those would take more than `share` of the run, or `stop` is requested meanwhile.
  std::optional<double> estimate(std::span<const FilterId> filters, double share,
                                 const std::stop_token& stop);

  /// Renders `filters` batch by batch and gives each result to `observer` when it is done. If memory does not
  /// suffice for a batch, continues with smaller ones and notifies the observer, unless the number of images
  /// is fixed. Returns at the latest after the current iteration when `stop` is requested: what the observer
  /// has is complete, the rest is dropped. Start images that are not one for all or one for each are a usage
  /// Error.
  void render(std::span<const FilterId> filters, RenderObserver& observer, const std::stop_token& stop);

  /// Losses and gradients of `images`, [filters][height][width][3], as the network of the first stage sees
  /// them, one for each of `filters` and in their order: to check what render() climbs. Another number of
  /// images is a usage Error.
  std::vector<FilterGradient> gradients(std::span<const FilterId> filters, std::span<const float> images);

 private:
  void ascend(Schedule& schedule, std::span<const FilterId> filters, FinishedFilters& finished,
              const std::stop_token& stop);
  double flops_per_image(const BatchLayout& layout, std::size_t stage) const;
  Error too_little_memory(const OutOfMemory& error, const BatchLayout& layout) const;

  const Network& network_;
  const Weights& weights_;
  const Recipe recipe_;
  const RenderOptions options_;
  std::unique_ptr<Engine> engine_;
  double planning_seconds_ = 0;
};

}  // namespace filterscope
