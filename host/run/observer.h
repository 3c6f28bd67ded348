#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "../model/network.h"
#include "filter_result.h"
#include "schedule.h"

namespace filterscope {

/// Receives what a run produces. All calls come from the thread that called Renderer::render.
class RenderObserver {
 public:
  virtual ~RenderObserver() = default;
  /// A filter is finished; filters come in no particular order. The observer may keep the result and should
  /// return at once.
  virtual void on_finished(FilterResult result) = 0;
  /// Whether on_finished() would return at once with a result of this size. An engine that keeps a device
  /// busy asks first, and holds results back while it still has work to enqueue.
  virtual bool has_room(std::size_t /*bytes*/) { return true; }
  /// Another `steps` (filters x iterations) of the run's total are done.
  virtual void on_progress(std::int64_t steps) = 0;
  /// A traced loss, as soon as the host knows it.
  virtual void on_loss(FilterId id, TracePoint point) = 0;
  /// The batches of the run, before the first one.
  virtual void on_schedule(const Schedule&) {}
  /// A sentence that the user should read.
  virtual void on_notice(const std::string&) {}
};

}  // namespace filterscope
