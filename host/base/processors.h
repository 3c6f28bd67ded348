#pragma once

#include <filesystem>
#include <optional>

namespace filterscope {

/// CPUs that this process may use: those of its affinity mask, at most shared_processors().
int available_processors();

/// CPUs that all processes of this one's control group may use together: the machine's, at most the group's
/// quota, rounded up.
int shared_processors();

/// The CPU time that the control groups of this process allow, in CPUs (0.5: half of one): the least of
/// cpu.max (cgroup v2) or cpu.cfs_quota_us (v1) of its group and of those above it, if any is limited. proc/
/// and sys/ are looked for below `root`.
std::optional<double> cpu_quota(const std::filesystem::path& root = "/");

/// `threads`, or $OMP_THREAD_LIMIT if that is less. A usage Error if the variable is not a number.
int limit_threads(int threads);

/// Threads of an engine by default: $OMP_NUM_THREADS, else available_processors(), within limit_threads(). A
/// usage Error if the variable is not a number that --threads accepts.
int default_threads();

}  // namespace filterscope
