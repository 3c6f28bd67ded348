#include "interrupt.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <iterator>
#include <system_error>
#include <utility>

#include "../base/exhaustion.h"
#include "../base/processors.h"

namespace filterscope::cli {

namespace {

constexpr std::array kSignals{SIGINT, SIGTERM, SIGHUP, SIGXCPU};
constexpr char kQuit = 0;

// The handler may only make async-signal-safe calls, and std::stop_source::request_stop is not one. So it
// writes the signal's number to a pipe as one byte, and a thread at the other end makes the request.
std::atomic<int> write_end{-1};
static_assert(std::atomic<int>::is_always_lock_free);

// Whether a second SIGINT or SIGTERM ends the program: not if the signal was ignored at the start.
volatile std::sig_atomic_t ends_at_once[2] = {0, 0};

extern "C" void on_signal(int signal) {
  const int saved_errno = errno;
  const auto byte = static_cast<char>(signal);
  if (ends_at_once[0] != 0) std::signal(SIGINT, SIG_DFL);
  if (ends_at_once[1] != 0) std::signal(SIGTERM, SIG_DFL);
  [[maybe_unused]] const auto written = write(write_end.load(), &byte, 1);
  errno = saved_errno;
}

void handle(int signal) {
  struct sigaction action {};
  action.sa_handler = on_signal;
  action.sa_flags = SA_RESTART;
  sigemptyset(&action.sa_mask);
  sigaction(signal, &action, nullptr);
}

// At the hard limit of CPU time the system kills the process. The soft limit, at which it sends SIGXCPU, is
// usually the same; then it is lowered a little, so that a run can stop in order. The time of all threads
// counts.
void leave_time_to_stop() {
  rlimit limit{};
  if (getrlimit(RLIMIT_CPU, &limit) != 0 || limit.rlim_max == RLIM_INFINITY ||
      limit.rlim_cur < limit.rlim_max)
    return;
  constexpr rlim_t kLeast = 1;
  constexpr rlim_t kMostOfEachProcessor = 30;
  const rlim_t most = kMostOfEachProcessor * static_cast<rlim_t>(available_processors());
  const rlim_t seconds = std::clamp(limit.rlim_max / 10, kLeast, most);
  if (limit.rlim_max <= seconds) return;
  limit.rlim_cur = limit.rlim_max - seconds;
  setrlimit(RLIMIT_CPU, &limit);
}

}  // namespace

Interrupt::Interrupt(std::string answer) : answer_(std::move(answer)) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) throw_exhaustion("cannot prepare to be interrupted", errno);
  read_end_ = ends[0];
  write_end = ends[1];
  const auto listen = [this] {
    while (true) {
      char byte = kQuit;
      const auto count = read(read_end_, &byte, 1);
      if (count < 0 && errno == EINTR) continue;
      if (count <= 0 || byte == kQuit) return;
      if (!source_.request_stop() || answer_.empty()) continue;
      if (byte == SIGXCPU)
        std::fputs("The limit of CPU time is nearly reached; `ulimit -t` shows it\n", stderr);
      std::fputs(answer_.c_str(), stderr);
    }
  };
  try {
    listener_ = std::thread(listen);
  } catch (const std::system_error&) {
    return;
  }
  leave_time_to_stop();
  for (std::size_t i = 0; i < kSignals.size(); ++i) {
    sigaction(kSignals[i], nullptr, &old_[i]);
    const bool ignored = old_[i].sa_handler == SIG_IGN;
    if (i < std::size(ends_at_once)) ends_at_once[i] = ignored ? 0 : 1;
    if (!ignored) handle(kSignals[i]);
  }
}

Interrupt::~Interrupt() {
  if (listener_.joinable()) {
    for (std::size_t i = 0; i < kSignals.size(); ++i) sigaction(kSignals[i], &old_[i], nullptr);
    [[maybe_unused]] const auto written = write(write_end, &kQuit, 1);
    listener_.join();
  }
  const int end = write_end.exchange(-1);
  close(end);
  close(read_end_);
}

}  // namespace filterscope::cli
