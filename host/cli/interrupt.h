#pragma once

#include <csignal>
#include <stop_token>
#include <string>
#include <thread>

namespace filterscope::cli {

/// While it lives, the first SIGINT or SIGTERM requests a stop; the second one ends the program at once, as
/// if it were not handled. The first one is answered on stderr by `answer`, since what it stops may take a
/// while. A signal that was ignored before (nohup, a background job) stays ignored. One at a time.
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
  struct sigaction old_int_ {};
  struct sigaction old_term_ {};
  int read_end_ = -1;
  std::thread listener_;
};

}  // namespace filterscope::cli
