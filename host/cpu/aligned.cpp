#include "aligned.h"

#include <fmt/format.h>

#include "../error.h"

namespace filterscope::cpu {

void throw_out_of_memory(std::size_t bytes) {
  throw Error(
      ErrorKind::device,
      fmt::format("out of memory: {:.1f} MB at once could not be had; give a smaller --batch or --size",
                  1e-6 * static_cast<double>(bytes)));
}

}  // namespace filterscope::cpu
