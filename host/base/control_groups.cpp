#include "control_groups.h"

#include <algorithm>
#include <fstream>
#include <optional>
#include <sstream>
#include <string>
#include <utility>

namespace filterscope {

namespace {

namespace fs = std::filesystem;

// Where a control group hierarchy is mounted, and the group that is the mount's root.
struct Mount {
  std::string root;
  std::string point;
};

std::vector<std::string> words_of(const std::string& line) {
  std::istringstream stream(line);
  std::vector<std::string> words;
  for (std::string word; stream >> word;) words.push_back(std::move(word));
  return words;
}

bool lists(std::string_view list, std::string_view item) {
  while (!list.empty()) {
    const std::size_t comma = std::min(list.find(','), list.size());
    if (list.substr(0, comma) == item) return true;
    list.remove_prefix(std::min(comma + 1, list.size()));
  }
  return false;
}

// The mount of cgroup v2, or of a controller of v1. See proc_pid_mountinfo(5):
// ID PARENT DEVICE ROOT POINT OPTIONS [TAG...] - TYPE SOURCE OPTIONS
std::optional<Mount> find_mount(const fs::path& proc, std::string_view controller) {
  std::ifstream stream(proc / "self/mountinfo");
  for (std::string line; std::getline(stream, line);) {
    const std::vector<std::string> words = words_of(line);
    const auto dash = std::ranges::find(words, "-");
    if (dash - words.begin() < 6 || words.end() - dash < 4) continue;
    if (controller.empty() ? dash[1] == "cgroup2" : dash[1] == "cgroup" && lists(dash[3], controller))
      return Mount{words[3], words[4]};
  }
  return std::nullopt;
}

// The path of this process's group in that hierarchy. See cgroups(7): ID:CONTROLLERS:PATH
std::optional<std::string> find_group(const fs::path& proc, std::string_view controller) {
  std::ifstream stream(proc / "self/cgroup");
  for (std::string line; std::getline(stream, line);) {
    const std::size_t first = line.find(':');
    const std::size_t second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    const std::string_view controllers = std::string_view(line).substr(first + 1, second - first - 1);
    if (controller.empty() ? line.starts_with("0::") : lists(controllers, controller))
      return line.substr(second + 1);
  }
  return std::nullopt;
}

// An empty controller stands for v2.
std::vector<fs::path> find_groups(std::string_view controller, const fs::path& root) {
  const auto mount = find_mount(root / "proc", controller);
  auto group = find_group(root / "proc", controller);
  if (!mount || !group) return {};
  // In a container that sees only its own part of the hierarchy, the path may still be the host's.
  if (mount->root != "/") {
    const bool below = group->starts_with(mount->root) &&
                       (group->size() == mount->root.size() || (*group)[mount->root.size()] == '/');
    group->erase(0, below ? mount->root.size() : group->size());
  }
  const fs::path top = root / fs::path(mount->point).relative_path();
  std::vector<fs::path> groups{top / fs::path(*group).relative_path()};
  while (groups.back() != top && groups.back().has_relative_path() &&
         groups.back().native().size() > top.native().size())
    groups.push_back(groups.back().parent_path());
  return groups;
}

}  // namespace

std::vector<fs::path> unified_groups(const fs::path& root) {
  return find_groups({}, root);
}

std::vector<fs::path> legacy_groups(std::string_view controller, const fs::path& root) {
  return find_groups(controller, root);
}

}  // namespace filterscope
