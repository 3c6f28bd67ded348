#include "process_setup.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>

namespace filterscope::cli {

namespace {

/// At the hard limit of processor time the system kills. Mostly the soft one, at which it sends SIGXCPU, is
/// the same: then a little less, so that a run can stop in order.
void leave_time_to_stop() {
  rlimit limit{};
  if (getrlimit(RLIMIT_CPU, &limit) != 0 || limit.rlim_max == RLIM_INFINITY ||
      limit.rlim_cur < limit.rlim_max)
    return;
  constexpr rlim_t kLeast = 1;
  constexpr rlim_t kMost = 30;
  const rlim_t seconds = std::clamp(limit.rlim_max / 10, kLeast, kMost);
  if (limit.rlim_max <= seconds) return;
  limit.rlim_cur = limit.rlim_max - seconds;
  setrlimit(RLIMIT_CPU, &limit);
}

}  // namespace

void prepare_process() {
  // A daemon may start the program with these closed. They would be the numbers of the next files to be
  // opened, and what is printed would go there.
  for (int descriptor = STDIN_FILENO; descriptor <= STDERR_FILENO; ++descriptor) {
    if (fcntl(descriptor, F_GETFD) != -1) continue;
    // The lowest number is taken, which is this one. Where there is no /dev/null, memory will do.
    if (open("/dev/null", O_RDWR) < 0) memfd_create("nowhere", 0);
  }
  // What is finished must be written, whoever reads the messages.
  std::signal(SIGPIPE, SIG_IGN);
  // The limit of file sizes is then an error of what is written, and told of like a full disk.
  std::signal(SIGXFSZ, SIG_IGN);
  leave_time_to_stop();
}

}  // namespace filterscope::cli
