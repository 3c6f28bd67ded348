#include "process_setup.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <csignal>

namespace filterscope::cli {

void prepare_process() {
  // A daemon may start the program with these closed. The next files opened would get their numbers, and
  // printed text would end up in them.
  for (int descriptor = STDIN_FILENO; descriptor <= STDERR_FILENO; ++descriptor) {
    if (fcntl(descriptor, F_GETFD) != -1) continue;
    // The lowest free number is taken, which is this one. If there is no /dev/null, memory will do.
    if (open("/dev/null", O_RDWR) < 0) memfd_create("nowhere", 0);
  }
  // Finished filters must be written even if nobody reads the messages any more.
  std::signal(SIGPIPE, SIG_IGN);
  // Exceeding the limit of file sizes then makes the write fail, and is reported like a full disk.
  std::signal(SIGXFSZ, SIG_IGN);
}

}  // namespace filterscope::cli
