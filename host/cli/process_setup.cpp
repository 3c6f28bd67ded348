#include "process_setup.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <csignal>

namespace filterscope::cli {

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
}

}  // namespace filterscope::cli
