#include "interrupt.h"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <system_error>
#include <utility>

#include "../base/exhaustion.h"

namespace filterscope::cli {

namespace {

constexpr std::array kSignals{SIGINT, SIGTERM, SIGHUP, SIGXCPU};
constexpr char kQuit = 0;

// The handler may only make async-signal-safe calls, which std::stop_source::request_stop is not: it writes a
// byte into a pipe, the signal's number, and a thread at the other end makes the request.
std::atomic<int> write_end{-1};
static_assert(std::atomic<int>::is_always_lock_free);

extern "C" void on_signal(int signal) {
  const int saved_errno = errno;
  const auto byte = static_cast<char>(signal);
  std::signal(SIGINT, SIG_DFL);
  std::signal(SIGTERM, SIG_DFL);
  [[maybe_unused]] const auto written = write(write_end.load(), &byte, 1);
  errno = saved_errno;
}

void handle(int signal, struct sigaction& old) {
  sigaction(signal, nullptr, &old);
  if (old.sa_handler == SIG_IGN) return;
  struct sigaction action {};
  action.sa_handler = on_signal;
  action.sa_flags = SA_RESTART;
  sigemptyset(&action.sa_mask);
  sigaction(signal, &action, nullptr);
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
        std::fputs("The limit of processor time is nearly reached; `ulimit -t` shows it\n", stderr);
      std::fputs(answer_.c_str(), stderr);
    }
  };
  try {
    listener_ = std::thread(listen);
  } catch (const std::system_error&) {
    return;
  }
  for (std::size_t i = 0; i < kSignals.size(); ++i) handle(kSignals[i], old_[i]);
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
