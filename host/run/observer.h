#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "../model/network.h"
#include "filter_result.h"

namespace filterscope {

/// What an engine tells while it renders. Calls come from one thread, that of Engine::render.
class RenderObserver {
 public:
  virtual ~RenderObserver() = default;
  /// A filter is finished, in no particular order. The observer may keep the result and should return at
  /// once.
  virtual void on_finished(FilterResult result) = 0;
  /// Whether on_finished() would return at once with a result of so many bytes. An engine that keeps a device
  /// busy meanwhile asks first, and holds results back as long as it has something to do for the device.
  virtual bool has_room(std::size_t /*bytes*/) { return true; }
  /// Filters in flight have finished another iteration: `steps` (filters x iterations) more of the total are
  /// done.
  virtual void on_progress(std::int64_t steps) = 0;
  /// A traced loss, as soon as the host knows it.
  virtual void on_loss(FilterId id, TracePoint point) = 0;
  /// Something that the user should know of, a sentence.
  virtual void on_notice(const std::string&) {}
};

}  // namespace filterscope
