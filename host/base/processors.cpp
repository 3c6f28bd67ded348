#include "processors.h"

#include <fmt/format.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <limits>
#include <memory>
#include <string>
#include <string_view>

#include "control_groups.h"
#include "error.h"

namespace filterscope {

namespace {

namespace fs = std::filesystem;

// Enough for any machine; sched_getaffinity() rejects larger masks.
constexpr int kMostProcessors = 1 << 16;
// The most that --threads accepts.
constexpr int kMostThreads = 4096;

int online_processors() {
  return static_cast<int>(std::max(1L, sysconf(_SC_NPROCESSORS_ONLN)));
}

int processors_in_mask() {
  // The kernel's mask may be larger than cpu_set_t.
  for (int processors = CPU_SETSIZE; processors <= kMostProcessors; processors *= 2) {
    const std::unique_ptr<cpu_set_t, void (*)(cpu_set_t*)> set(CPU_ALLOC(processors),
                                                               [](cpu_set_t* s) { CPU_FREE(s); });
    const std::size_t size = CPU_ALLOC_SIZE(processors);
    if (set != nullptr && sched_getaffinity(0, size, set.get()) == 0) return CPU_COUNT_S(size, set.get());
  }
  return online_processors();
}

std::optional<double> number_in(const fs::path& file, int position = 0) {
  std::ifstream stream(file);
  std::string word;
  for (int i = 0; i <= position; ++i)
    if (!(stream >> word)) return std::nullopt;
  double value = 0;
  const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), value);
  return error == std::errc{} && end == word.data() + word.size() && value > 0 ? std::optional(value)
                                                                               : std::nullopt;
}

// The quota of one group; "max" and -1 mean no limit.
std::optional<double> quota_of(const fs::path& group, bool v2) {
  const auto quota = v2 ? number_in(group / "cpu.max") : number_in(group / "cpu.cfs_quota_us");
  const auto period = v2 ? number_in(group / "cpu.max", 1) : number_in(group / "cpu.cfs_period_us");
  return quota && period ? std::optional(*quota / *period) : std::nullopt;
}

std::optional<double> least_quota(const fs::path& root, bool v2) {
  std::optional<double> least;
  for (const fs::path& group : v2 ? unified_groups(root) : legacy_groups("cpu", root))
    if (const auto quota = quota_of(group, v2)) least = std::min(*quota, least.value_or(*quota));
  return least;
}

[[noreturn]] void throw_bad_threads(const char* name) {
  throw Error(
      ErrorKind::usage,
      fmt::format("${}: expected a whole number from 1 to {}, found \"{}\"; unset it or give --threads", name,
                  kMostThreads, std::getenv(name)));
}

// The first number of the variable, which may be a list for nested loops, such as "8,2".
std::optional<int> threads_in_variable(const char* name) {
  const char* const text = std::getenv(name);
  if (text == nullptr || *text == '\0') return std::nullopt;
  std::string_view rest(text);
  rest.remove_prefix(std::min(rest.find_first_not_of(" \t"), rest.size()));
  int threads = 0;
  const auto [end, error] = std::from_chars(rest.data(), rest.data() + rest.size(), threads);
  rest.remove_prefix(static_cast<std::size_t>(end - rest.data()));
  rest.remove_prefix(std::min(rest.find_first_not_of(" \t"), rest.size()));
  if (error == std::errc::result_out_of_range && *text != '-') return std::numeric_limits<int>::max();
  if (error != std::errc{} || threads < 1 || !(rest.empty() || rest.starts_with(',')))
    throw_bad_threads(name);
  return threads;
}

}  // namespace

std::optional<double> cpu_quota(const fs::path& root) {
  const auto unified = least_quota(root, true);
  const auto legacy = least_quota(root, false);
  return unified && legacy ? std::min(unified, legacy) : unified ? unified : legacy;
}

int available_processors() {
  return std::min(processors_in_mask(), shared_processors());
}

int shared_processors() {
  const int processors = online_processors();
  const auto quota = cpu_quota();
  return quota && *quota < processors ? static_cast<int>(std::ceil(*quota)) : processors;
}

int limit_threads(int threads) {
  return std::min(threads, threads_in_variable("OMP_THREAD_LIMIT").value_or(threads));
}

int default_threads() {
  const int threads = threads_in_variable("OMP_NUM_THREADS").value_or(available_processors());
  if (threads > kMostThreads) throw_bad_threads("OMP_NUM_THREADS");
  return limit_threads(threads);
}

}  // namespace filterscope
