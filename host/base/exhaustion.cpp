#include "exhaustion.h"

#include <fmt/format.h>
#include <sys/resource.h>

#include <cerrno>
#include <cstdint>
#include <optional>
#include <system_error>

#include "error.h"
#include "text.h"

namespace filterscope {
namespace {

std::optional<std::uint64_t> limit_of(decltype(RLIMIT_AS) resource) {
  rlimit limits{};
  if (getrlimit(resource, &limits) != 0 || limits.rlim_cur == RLIM_INFINITY) return std::nullopt;
  return limits.rlim_cur;
}

std::string memory_advice() {
  for (const auto& [resource, option] : {std::pair{RLIMIT_AS, "-v"}, std::pair{RLIMIT_DATA, "-d"}})
    if (const auto limit = limit_of(resource))
      return fmt::format("raise the limit of memory (`ulimit {}`, now {} MB)", option,
                         with_thousands(static_cast<std::int64_t>(*limit / 1'000'000)));
  return "end other programs, or use a machine with more memory";
}

}  // namespace

bool is_exhaustion(int error) {
  return error == EMFILE || error == ENFILE || error == ENOMEM || error == EAGAIN;
}

std::string exhaustion_advice(int error) {
  switch (error) {
    case EMFILE: {
      const auto limit = limit_of(RLIMIT_NOFILE);
      return fmt::format("raise the limit of open files (`ulimit -n`{})",
                         limit ? fmt::format(", now {}", *limit) : "");
    }
    case ENFILE:
      return "the machine has too many files open: end other programs";
    case EAGAIN: {
      const auto limit = limit_of(RLIMIT_NPROC);
      // The system reports a thread without memory for its stack in the same way.
      return fmt::format(
          "end some of your processes, or raise the limit of processes and threads (`ulimit -u`{}, "
          "or that of the container){}",
          limit ? fmt::format(", now {}", *limit) : "",
          limit_of(RLIMIT_AS) ? "; else " + memory_advice() : "");
    }
    default:
      return memory_advice();
  }
}

std::string file_size_advice() {
  const auto limit = limit_of(RLIMIT_FSIZE);
  return limit ? fmt::format("raise the limit of file sizes (`ulimit -f`, now {} bytes)", *limit) : "";
}

std::string reading_advice(int error) {
  if (is_exhaustion(error)) return "; " + exhaustion_advice(error);
  return error == EACCES ? "; check its permissions" : "";
}

std::string missing_text(const std::filesystem::path& path) {
  std::error_code error;
  const auto type = std::filesystem::status(path, error).type();
  return type == std::filesystem::file_type::none ? error.message() + reading_advice(error.value())
                                                  : "no such file or folder";
}

void throw_exhaustion(std::string_view what, int error) {
  throw Error(ErrorKind::device, fmt::format("{}: {}; {}", what, std::generic_category().message(error),
                                             exhaustion_advice(error)));
}

}  // namespace filterscope
