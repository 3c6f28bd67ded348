#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <stop_token>
#include <string>

#include "../base/out_of_memory.h"
#include "batch.h"
#include "engine_description.h"
#include "filter_gradient.h"
#include "observer.h"
#include "phases.h"
#include "schedule.h"

namespace filterscope {

/// A worker that ascends the batches it is given, for one network with one set of weights and one recipe. For
/// one thread at a time. Batches come from a Schedule of the engine's own batch_limits(): filters of the
/// network, whose weights are there. Every function that computes throws OutOfMemory where memory is short,
/// and a device Error where the device fails.
class Engine {
 public:
  virtual ~Engine() = default;
  virtual EngineDescription describe() const = 0;

  /// Time spent so far on bringing weights to the device, on plans and on the ascent; 0 in the other phases.
  virtual PhaseSeconds phases() const = 0;

  /// What the user should know before anything is rendered: a sentence, or nothing.
  virtual std::string notice() const { return {}; }
  /// The batches it accepts now; queries free memory.
  virtual BatchLimits batch_limits() = 0;
  /// Memory for one batch of this layout.
  virtual std::size_t batch_bytes(const BatchLayout& layout) = 0;
  /// Advice on freeing memory other than by smaller batches or images; the end of an error message.
  virtual std::string memory_advice() const = 0;

  /// Ascends the batches of `group`, and gives each filter's result to `observer` when it is done. Returns at
  /// the latest after the current iteration when `stop` is requested: what the observer has is complete, the
  /// rest is dropped. When it throws OutOfMemory, nothing of the batch that needed it
  /// has reached the observer.
  virtual void ascend(const BatchGroup& group, RenderObserver& observer, const std::stop_token& stop) = 0;

  /// Called when results were not finite: whether the engine can keep larger values finite from now on, so
  /// that those filters are worth another try.
  virtual bool extend_range() { return false; }

  /// Seconds per image of an iteration of the recipe's stage number `stage`, from timed iterations of the
  /// group's first batch or of a part of it. Nothing if `stop` is requested meanwhile.
  virtual std::optional<double> seconds_per_image(const BatchGroup& group, std::size_t stage,
                                                  const std::stop_token& stop) = 0;
  /// Iterations, times images, that seconds_per_image() runs.
  virtual double timed_iterations(const BatchGroup& group, std::size_t stage) const = 0;

  /// Losses and gradients of `images`, [filters][height][width][3], as the network of the first stage sees
  /// them; each filter's are written to `results` at its index in the schedule.
  virtual void find_gradients(const BatchGroup& group, std::span<const float> images,
                              std::span<FilterGradient> results) = 0;
};

}  // namespace filterscope
