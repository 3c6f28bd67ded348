#pragma once

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <exception>
#include <functional>
#include <mutex>
#include <set>
#include <thread>
#include <vector>

#include "../run/engine_description.h"
#include "../run/filter_result.h"
#include "../run/selection.h"

namespace filterscope {

/// Results on their way from the engine to the threads that encode and write them. Bounded by the memory they
/// take. Keeps the first exception of the run.
class ResultQueue {
 public:
  /// Called with each result, from several threads at once.
  using Write = std::function<void(FilterResult& result, const EngineDescription& engine)>;

  /// Takes up to `most_bytes` of results, but always one.
  ResultQueue(std::size_t most_bytes, Write write) : most_bytes_(most_bytes), write_(std::move(write)) {}
  /// Drops what is still queued.
  ~ResultQueue();
  ResultQueue(const ResultQueue&) = delete;
  ResultQueue& operator=(const ResultQueue&) = delete;

  /// Starts up to `count` threads, as many as the system allows. Without any, add() writes.
  void start(unsigned count);

  /// Waits for room, then queues. Throws the first exception of the run, if there was one;
  /// std::invalid_argument for a filter that was added before; std::logic_error after finish().
  void add(FilterResult result, const EngineDescription& engine);
  /// Whether add() would take a result of so many bytes without waiting.
  bool has_room(std::size_t bytes) const;

  /// Waits until everything is written, and ends the threads.
  void finish();

  /// Runs `action`. Returns whether it succeeded; the first exception of the run is kept.
  template <typename Action>
  bool attempt(Action action) {
    try {
      action();
      return true;
    } catch (...) {
      const std::scoped_lock lock(mutex_);
      if (!error_) error_ = std::current_exception();
      return false;
    }
  }
  /// Throws the first exception of the run, if there was one.
  void rethrow() const;

 private:
  struct Item {
    FilterResult result;
    EngineDescription engine;
  };

  bool fits(std::size_t bytes) const;
  void work();
  void write_next(std::unique_lock<std::mutex>& lock);

  const std::size_t most_bytes_;
  const Write write_;

  /// Guards all below. Never held while something is written: the engine's thread must not wait for a disk.
  mutable std::mutex mutex_;
  std::condition_variable work_;  ///< Something is queued, or nothing more will be.
  std::condition_variable room_;  ///< Something left the queue.
  std::deque<Item> queue_;
  std::size_t queued_bytes_ = 0;  ///< Including what is being written.
  bool closed_ = false;
  std::exception_ptr error_;
  std::set<FilterId> added_;

  std::vector<std::thread> threads_;
};

}  // namespace filterscope
