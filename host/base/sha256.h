#pragma once

#include <filesystem>
#include <string>

namespace filterscope {

/// SHA-256 of the file's bytes, as 64 lower-case hexadecimal digits; an input Error if it cannot be read.
std::string sha256_of_file(const std::filesystem::path& path);

}  // namespace filterscope
