#pragma once

#include <array>
#include <csignal>
#include <stop_token>
#include <string>
#include <thread>

namespace filterscope::cli {

/// During its lifetime, the first SIGINT, SIGTERM, SIGHUP (the terminal was closed) or SIGXCPU (the limit of
/// CPU time) requests a stop and prints `answer` to stderr, since stopping may take a while. After that, a
/// SIGINT or SIGTERM ends the program at once, as if it were not handled; the other two signals may repeat on
/// their own. A signal that was ignored before (nohup, a background job) stays ignored. If no thread can be
/// started, signals keep their meaning. Only one object may exist at a time.
class Interrupt {
 public:
  explicit Interrupt(std::string answer = "");
  ~Interrupt();
  Interrupt(const Interrupt&) = delete;
  Interrupt& operator=(const Interrupt&) = delete;

  std::stop_token token() const { return source_.get_token(); }
  bool requested() const { return source_.stop_requested(); }

 private:
  std::string answer_;
  std::stop_source source_;
  std::array<struct sigaction, 4> old_{};  ///< How each signal was handled before.
  int read_end_ = -1;
  std::thread listener_;
};

}  // namespace filterscope::cli
