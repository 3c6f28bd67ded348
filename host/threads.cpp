#include "threads.h"

#include <fmt/format.h>

#include <system_error>
#include <utility>

#include "error.h"
#include "processors.h"

namespace filterscope {

namespace {

// Some 10 to 50 microseconds: about what the serial steps between two loops of an iteration take. Threads
// that have no core of their own should let others run instead.
constexpr int kSpins = 1000;
constexpr int kSpinsWithoutCore = 100;

thread_local ThreadTeam* team_of_thread = nullptr;
thread_local int number_of_thread = 0;

void pause_processor() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

}  // namespace

ThreadTeam::ThreadTeam(int count) : spins_(count > available_processors() ? kSpinsWithoutCore : kSpins) {
  workers_.reserve(count - 1);
  try {
    for (int thread = 1; thread < count; ++thread) workers_.emplace_back([this, thread] { work(thread); });
  } catch (const std::system_error& error) {
    const int started = this->count();
    stop();
    throw Error(
        ErrorKind::device,
        fmt::format("expected to start {} threads, found that the system allows {} ({}): a limit of "
                    "processes (`ulimit -u`, a container's) or of memory (`ulimit -v`) is reached; give "
                    "at most --threads {}, or raise the limit",
                    count, started, error.code().message(), started));
  }
}

ThreadTeam::~ThreadTeam() {
  stop();
}

void ThreadTeam::stop() {
  stopping_ = true;
  loops_.fetch_add(1, std::memory_order_release);
  loops_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

void ThreadTeam::wait_while(const std::atomic<std::uint32_t>& value, std::uint32_t old) const {
  for (int spin = 0; spin < spins_; ++spin) {
    if (value.load(std::memory_order_acquire) != old) return;
    pause_processor();
  }
  value.wait(old, std::memory_order_acquire);
}

ThreadTeam* ThreadTeam::current() {
  return team_of_thread;
}

void ThreadTeam::share(int count, const Piece& piece) {
  // A loop inside of this one is not shared.
  const Scope alone(nullptr);
  piece_ = &piece;
  count_ = count;
  running_.store(static_cast<std::uint32_t>(workers_.size()), std::memory_order_relaxed);
  loops_.fetch_add(1, std::memory_order_release);
  loops_.notify_all();
  run_piece(0);
  while (const std::uint32_t running = running_.load(std::memory_order_acquire))
    wait_while(running_, running);
  if (error_) std::rethrow_exception(std::exchange(error_, nullptr));
}

void ThreadTeam::work(int thread) {
  number_of_thread = thread;
  for (std::uint32_t seen = 0;; ++seen) {
    wait_while(loops_, seen);
    if (stopping_) return;
    run_piece(thread);
    if (running_.fetch_sub(1, std::memory_order_acq_rel) == 1) running_.notify_one();
  }
}

void ThreadTeam::run_piece(int thread) {
  const auto part = [&](std::int64_t number) { return static_cast<int>(number * count_ / count()); };
  try {
    (*piece_)(part(thread), part(thread + 1));
  } catch (...) {
    const std::scoped_lock lock(error_mutex_);
    if (!error_) error_ = std::current_exception();
  }
}

ThreadTeam::Scope::Scope(ThreadTeam* team) : before_(std::exchange(team_of_thread, team)) {}

ThreadTeam::Scope::~Scope() {
  team_of_thread = before_;
}

int thread_count() {
  return team_of_thread == nullptr ? 1 : team_of_thread->count();
}

int thread_number() {
  return number_of_thread;
}

}  // namespace filterscope
