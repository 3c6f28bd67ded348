#include "result_queue.h"

#include <new>
#include <stdexcept>
#include <system_error>
#include <utility>

namespace filterscope {
namespace {

std::size_t bytes_of(const FilterResult& result) {
  std::size_t bytes =
      result.picture.size() + result.image.size() * sizeof(float) + result.trace.size() * sizeof(TracePoint);
  for (const auto& frame : result.frames) bytes += frame.size();
  return bytes;
}

}  // namespace

ResultQueue::~ResultQueue() {
  {
    const std::scoped_lock lock(mutex_);
    queue_.clear();
  }
  finish();
}

void ResultQueue::start(unsigned count) {
  threads_.reserve(count);
  try {
    while (threads_.size() < count) threads_.emplace_back([this] { work(); });
  } catch (const std::system_error&) {
  } catch (const std::bad_alloc&) {
  }
}

void ResultQueue::add(FilterResult result, const EngineDescription& engine) {
  const std::size_t bytes = bytes_of(result);
  std::unique_lock lock(mutex_);
  room_.wait(lock, [&] { return fits(bytes); });
  if (closed_) throw std::logic_error("RunWriter: add() after finish()");
  if (error_) std::rethrow_exception(error_);
  if (!added_.insert(result.id).second) throw std::invalid_argument("RunWriter: a filter was added twice");
  queued_bytes_ += bytes;
  queue_.push_back({std::move(result), engine});
  if (threads_.empty())
    write_next(lock);
  else
    work_.notify_one();
}

bool ResultQueue::has_room(std::size_t bytes) const {
  const std::scoped_lock lock(mutex_);
  return fits(bytes);
}

void ResultQueue::finish() {
  {
    const std::scoped_lock lock(mutex_);
    closed_ = true;
  }
  work_.notify_all();
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
}

void ResultQueue::rethrow() const {
  const std::scoped_lock lock(mutex_);
  if (error_) std::rethrow_exception(error_);
}

bool ResultQueue::fits(std::size_t bytes) const {
  return queue_.empty() || queued_bytes_ + bytes <= most_bytes_;
}

void ResultQueue::work() {
  while (true) {
    std::unique_lock lock(mutex_);
    work_.wait(lock, [this] { return closed_ || !queue_.empty(); });
    if (queue_.empty()) return;
    write_next(lock);
  }
}

/// Writes the first result in the queue. `lock` holds mutex_ before and after, not in between.
void ResultQueue::write_next(std::unique_lock<std::mutex>& lock) {
  Item item = std::move(queue_.front());
  queue_.pop_front();
  lock.unlock();
  const std::size_t bytes = bytes_of(item.result);
  attempt([&] { write_(item.result, item.engine); });
  item = {};
  lock.lock();
  queued_bytes_ -= bytes;
  room_.notify_one();
}

}  // namespace filterscope
