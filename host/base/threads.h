#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace filterscope {

/// A number whose change threads wait for, first spinning, then asleep. std::atomic's wait() yields its core
/// before it sleeps, and another busy process then keeps the core for milliseconds.
class WaitableNumber {
 public:
  /// `spins`: how often a thread reads the number, with a pause after each, before it sleeps.
  explicit WaitableNumber(int spins) : spins_(spins) {}

  std::uint32_t get() const { return value_.load(std::memory_order_acquire); }
  /// Returns once the number differs from `old`; what was written before the change is visible.
  void wait_while(std::uint32_t old);
  /// Adds to the number, modulo 2^32, and returns what it was.
  std::uint32_t add(std::uint32_t summand) { return value_.fetch_add(summand); }
  void set(std::uint32_t value) { value_.store(value); }
  /// Wakes sleeping threads. Call it after each change; the other members do not.
  void wake();

 private:
  const int spins_;
  std::atomic<std::uint32_t> value_{0};
  std::atomic<int> sleepers_{0};
};

/// Threads that share the loops of an engine. They start and end with the team, so no loop can fail because a
/// thread cannot be started (where oneTBB ends the process). Between two loops they spin for microseconds and
/// then sleep, so that other processes get their cores.
class ThreadTeam {
 public:
  /// `count` threads, including the calling one. If the system does not allow so many, a device Error says
  /// how many it does.
  explicit ThreadTeam(int count);
  ~ThreadTeam();
  ThreadTeam(const ThreadTeam&) = delete;
  ThreadTeam& operator=(const ThreadTeam&) = delete;

  int count() const { return static_cast<int>(workers_.size()) + 1; }

  /// During its lifetime, `team` shares the loops of the thread that made it; null: nobody does. A team can
  /// serve one thread at a time.
  class Scope {
   public:
    explicit Scope(ThreadTeam* team);
    ~Scope();
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;

   private:
    ThreadTeam* before_;
  };

 private:
  using Piece = std::function<void(int begin, int end)>;
  template <typename Body>
  friend void parallel_for(int count, const Body& body);

  static ThreadTeam* current();
  void share(int count, const Piece& piece);
  void work(int thread);
  void run_piece(int thread);
  void stop();

  std::vector<std::thread> workers_;

  // The current loop, written by the thread that shares it before it changes `loops_`.
  const Piece* piece_ = nullptr;
  int count_ = 0;
  bool stopping_ = false;
  std::mutex error_mutex_;
  std::exception_ptr error_;

  // On separate cache lines: waiting workers read the first while finishing ones write the second.
  alignas(64) WaitableNumber loops_;    // Started so far.
  alignas(64) WaitableNumber running_;  // Workers that have not finished the current one.
};

/// The number of threads that share the calling thread's loops, and the calling thread's number in such a
/// loop, from 0.
int thread_count();
int thread_number();

/// Calls body(i) for each i in [0, count). Each thread takes one contiguous part, which depends only on count
/// and team. The first exception is rethrown when all threads are done. Inside a shared loop, and without a
/// team, the calling thread does everything.
template <typename Body>
void parallel_for(int count, const Body& body) {
  const auto piece = [&body](int begin, int end) {
    for (int i = begin; i < end; ++i) body(i);
  };
  ThreadTeam* const team = count > 1 ? ThreadTeam::current() : nullptr;
  if (team == nullptr) return piece(0, count);
  team->share(count, piece);
}

/// Calls body(i, j) for each i in [0, rows) and j in [0, columns), like parallel_for() over all pairs.
template <typename Body>
void parallel_for(int rows, int columns, const Body& body) {
  parallel_for(rows * columns, [&](int i) { body(i / columns, i % columns); });
}

/// Calls body(image, begin, end) for ranges of at most `tile` of each image's [0, rows). The ranges do not
/// depend on the number of threads.
template <typename Body>
void parallel_tiles(int images, int rows, int tile, const Body& body) {
  parallel_for(images, (rows + tile - 1) / tile,
               [&](int image, int piece) { body(image, piece * tile, std::min(rows, (piece + 1) * tile)); });
}

}  // namespace filterscope
