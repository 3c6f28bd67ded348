#pragma once

#include <array>
#include <csignal>
#include <stop_token>
#include <string>
#include <thread>

namespace filterscope::cli {

/// While it lives, the first SIGINT, SIGTERM, SIGHUP (the terminal was closed) or SIGXCPU (the limit of
/// processor time) requests a stop. It is answered on stderr by `answer`, since what it stops may take a
/// while. Then a SIGINT or SIGTERM ends the program at once, as if it were not handled; the other two come
/// more than once by themselves. A signal that was ignored before (nohup, a background job) stays ignored.
/// Where no thread can be started, signals stay as they are. One at a time.
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
