#pragma once

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <optional>
#include <string>
#include <vector>

namespace filterscope {

/// Opens a file of results for reading; the stream is not open if that fails. An input Error if the process
/// has reached its limit of open files or memory: the file must not be taken for damaged, and replaced, then.
std::ifstream open_result(const std::filesystem::path& path);

/// The contents of such a file; empty if it cannot be read.
std::vector<std::uint8_t> read_result_file(const std::filesystem::path& path);

/// The contents of a file, if it exists. An input Error if it cannot be read.
std::optional<std::string> read_file(const std::filesystem::path& path);

}  // namespace filterscope
