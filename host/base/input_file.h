#pragma once

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <optional>
#include <string>
#include <vector>

namespace filterscope {

/// A file of results, open for reading, or not where it cannot be opened. An input Error where nothing else
/// could be either, since the process may not open more files or has no memory: what the file holds is then
/// not to be judged, nor replaced.
std::ifstream open_result(const std::filesystem::path& path);

/// All that is in such a file, or nothing.
std::vector<std::uint8_t> read_result_file(const std::filesystem::path& path);

/// All that is in a file; nothing where there is none. An input Error where it cannot be read.
std::optional<std::string> read_file(const std::filesystem::path& path);

}  // namespace filterscope
