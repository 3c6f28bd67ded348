#include "threads.h"

#include <fmt/format.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <climits>
#include <system_error>
#include <utility>

#include "error.h"
#include "exhaustion.h"
#include "processors.h"

namespace filterscope {

namespace {

// Some 10 to 50 microseconds, about as long as the serial steps between two loops of an iteration. Threads
// without a core to themselves should let others run instead.
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

int spins_of(int threads) {
  return threads > available_processors() ? kSpinsWithoutCore : kSpins;
}

}  // namespace

void WaitableNumber::wait_while(std::uint32_t old) {
  for (int spin = 0; spin < spins_; ++spin) {
    if (get() != old) return;
    pause_processor();
  }
  ++sleepers_;
  // Sleeps only if the number is still `old`; may wake up spuriously.
  while (get() == old) syscall(SYS_futex, &value_, FUTEX_WAIT_PRIVATE, old, nullptr, nullptr, 0);
  --sleepers_;
}

void WaitableNumber::wake() {
  if (sleepers_ > 0) syscall(SYS_futex, &value_, FUTEX_WAKE_PRIVATE, INT_MAX, nullptr, nullptr, 0);
}

ThreadTeam::ThreadTeam(int count) : loops_(spins_of(count)), running_(spins_of(count)) {
  workers_.reserve(count - 1);
  try {
    for (int thread = 1; thread < count; ++thread) workers_.emplace_back([this, thread] { work(thread); });
  } catch (const std::system_error& error) {
    const int started = this->count();
    stop();
    throw Error(ErrorKind::device,
                fmt::format("expected to start {} threads, but the system allows {}: {}; give at most "
                            "--threads {}, or {}",
                            count, started, error.code().message(), started,
                            exhaustion_advice(error.code().value())));
  } catch (...) {  // No memory. Threads must end before they are destroyed.
    stop();
    throw;
  }
}

ThreadTeam::~ThreadTeam() {
  stop();
}

void ThreadTeam::stop() {
  stopping_ = true;
  loops_.add(1);
  loops_.wake();
  for (std::thread& worker : workers_) worker.join();
}

ThreadTeam* ThreadTeam::current() {
  return team_of_thread;
}

void ThreadTeam::share(int count, const Piece& piece) {
  // Loops inside this one are not shared.
  const Scope alone(nullptr);
  piece_ = &piece;
  count_ = count;
  running_.set(static_cast<std::uint32_t>(workers_.size()));
  loops_.add(1);
  loops_.wake();
  run_piece(0);
  while (const std::uint32_t running = running_.get()) running_.wait_while(running);
  if (error_) std::rethrow_exception(std::exchange(error_, nullptr));
}

void ThreadTeam::work(int thread) {
  number_of_thread = thread;
  for (std::uint32_t seen = 0;; ++seen) {
    loops_.wait_while(seen);
    if (stopping_) return;
    run_piece(thread);
    if (running_.add(-1u) == 1) running_.wake();
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
