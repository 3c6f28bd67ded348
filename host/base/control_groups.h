#pragma once

#include <filesystem>
#include <string_view>
#include <vector>

/// The control groups (cgroups(7)) of this process: folders with the limits of a group, the process's own
/// group first, then those above it. None where the hierarchy is not mounted. `root`: the folder below which
/// proc/ and sys/ are looked for.
namespace filterscope {

/// The groups of cgroup v2.
std::vector<std::filesystem::path> unified_groups(const std::filesystem::path& root = "/");
/// The groups of cgroup v1 for one controller, such as "cpu" or "memory".
std::vector<std::filesystem::path> legacy_groups(std::string_view controller,
                                                 const std::filesystem::path& root = "/");

}  // namespace filterscope
