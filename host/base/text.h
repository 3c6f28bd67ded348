#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "extent.h"

namespace filterscope {

/// 14714688 as "14,714,688".
std::string with_thousands(std::int64_t number);
/// "1 filter", "8 filters", "4,224 filters".
std::string counted(std::int64_t count, std::string_view noun);
/// Pixels, width first: "128 x 96".
std::string size_text(Extent extent);
/// The start of untrusted text, at most one line, with `?` for bytes that are not printable ASCII.
std::string printable(std::string_view text);
/// Whether a text can be stored as JSON or shown on a page as it is. File names may not be UTF-8.
bool is_utf8(std::string_view text);
/// A path as part of a URL: bytes that have another meaning there, or none, become "%E9".
std::string percent_encoded(std::string_view path);
/// `arguments` as typed into a shell: UTF-8 on one line. Other bytes, which names may hold, become numbers,
/// as in $'caf\351'.
std::string shell_quoted(std::span<const std::string> arguments);
/// The inverse of shell_quoted().
std::vector<std::string> shell_words(std::string_view line);

}  // namespace filterscope
