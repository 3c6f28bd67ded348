#pragma once

#include <algorithm>
#include <cctype>
#include <numeric>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace filterscope {

/// The least number of insertions, deletions and substitutions that turn `a` into `b`, ignoring case.
inline std::size_t edit_distance(std::string_view a, std::string_view b) {
  const auto lower = [](char c) { return std::tolower(static_cast<unsigned char>(c)); };
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 0; i < a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i + 1;
    for (std::size_t j = 0; j < b.size(); ++j) {
      const std::size_t substituted = diagonal + (lower(a[i]) == lower(b[j]) ? 0 : 1);
      diagonal = row[j + 1];
      row[j + 1] = std::min({substituted, row[j] + 1, row[j + 1] + 1});
    }
  }
  return row.back();
}

/// The one of `known` that a misspelt or shortened name most likely means, if one is close.
inline std::optional<std::string> nearest_name(std::string_view name, std::span<const std::string> known) {
  constexpr std::size_t kFarthest = 3;
  constexpr std::size_t kShortest = 3;  // Taken for an abbreviation rather than a mistake.
  const auto begins = [&](const std::string& candidate) { return candidate.starts_with(name); };
  if (name.size() >= kShortest && std::ranges::count_if(known, begins) == 1)
    return *std::ranges::find_if(known, begins);
  std::optional<std::string> nearest;
  std::size_t smallest = std::min(kFarthest, name.size() / 2) + 1;
  for (const std::string& candidate : known) {
    const std::size_t distance = edit_distance(name, candidate);
    if (distance < smallest) {
      smallest = distance;
      nearest = candidate;
    }
  }
  return nearest;
}

}  // namespace filterscope
