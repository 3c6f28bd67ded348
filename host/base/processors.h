#pragma once

#include <filesystem>
#include <optional>

namespace filterscope {

/// CPUs that this process may keep busy: those of its affinity mask, at most shared_processors().
int available_processors();

/// CPUs that the processes of this one's control group may keep busy together: the machine's, at most the
/// group's quota, rounded up.
int shared_processors();

/// How many CPUs' worth of time the control groups of this process allow (0.5: half of one's): the least that
/// cpu.max (cgroup v2) or cpu.cfs_quota_us (v1) of its group and of those above it say. Nothing without a
/// limit. `root`: the folder below which proc/ and sys/ are looked for.
std::optional<double> cpu_quota(const std::filesystem::path& root = "/");

/// At most $OMP_THREAD_LIMIT of so many threads. A usage Error where that is no number.
int limit_threads(int threads);

/// Threads of the engines where nobody says how many: $OMP_NUM_THREADS, else available_processors(), as
/// limit_threads() allows. A usage Error where the variable is no number that --threads takes.
int default_threads();

}  // namespace filterscope
