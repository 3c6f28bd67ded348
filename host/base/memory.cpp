#include "memory.h"

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <string>
#include <string_view>

#include "control_groups.h"

namespace filterscope {

namespace {

namespace fs = std::filesystem;

// The first number of a file; nothing where it says "max".
std::optional<std::uint64_t> number_in(const fs::path& file) {
  std::ifstream stream(file);
  std::uint64_t value = 0;
  return stream >> value ? std::optional(value) : std::nullopt;
}

// The number after `name` in a file of lines such as "MemAvailable:   23 kB".
std::optional<std::uint64_t> number_after(std::string_view name, const fs::path& file) {
  std::ifstream stream(file);
  for (std::string word; stream >> word; stream.ignore(1 << 16, '\n')) {
    std::uint64_t value = 0;
    if (word == name) return stream >> value ? std::optional(value) : std::nullopt;
  }
  return std::nullopt;
}

std::uint64_t difference(std::uint64_t limit, std::uint64_t used) {
  return limit - std::min(limit, used);
}

struct GroupFiles {
  const char* limit;
  const char* used;
  const char* cache;  // The name in memory.stat of the page cache that is dropped first; it counts as used.
};
constexpr GroupFiles kUnified{"memory.max", "memory.current", "inactive_file"};
constexpr GroupFiles kLegacy{"memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"};

std::optional<std::uint64_t> left_in_group(const fs::path& group, const GroupFiles& files) {
  const auto limit = number_in(group / files.limit);
  const auto used = number_in(group / files.used);
  if (!limit || !used) return std::nullopt;
  return difference(*limit, difference(*used, number_after(files.cache, group / "memory.stat").value_or(0)));
}

// `field`: of proc_pid_statm(5), the pages that count.
std::optional<std::uint64_t> left_of_limit(decltype(RLIMIT_AS) resource, int field, const fs::path& root) {
  rlimit limits{};
  if (getrlimit(resource, &limits) != 0 || limits.rlim_cur == RLIM_INFINITY) return std::nullopt;
  std::ifstream stream(root / "proc/self/statm");
  std::uint64_t pages = 0;
  for (int i = 0; i <= field; ++i)
    if (!(stream >> pages)) return std::nullopt;
  return difference(limits.rlim_cur, pages * static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE)));
}

}  // namespace

std::optional<std::uint64_t> available_memory(const fs::path& root) {
  std::optional<std::uint64_t> least;
  const auto limit = [&](std::optional<std::uint64_t> bytes) {
    if (bytes) least = std::min(*bytes, least.value_or(*bytes));
  };
  const auto kilobytes = number_after("MemAvailable:", root / "proc/meminfo");
  if (kilobytes) limit(*kilobytes * 1024);
  for (const fs::path& group : unified_groups(root)) limit(left_in_group(group, kUnified));
  for (const fs::path& group : legacy_groups("memory", root)) limit(left_in_group(group, kLegacy));
  limit(left_of_limit(RLIMIT_AS, 0, root));
  limit(left_of_limit(RLIMIT_DATA, 5, root));
  return least;
}

}  // namespace filterscope
