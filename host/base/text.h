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
/// Pixels as they are told everywhere, width first: "128 x 96".
std::string size_text(Extent extent);
/// Of text that may hold anything, what can be printed, `?` for the rest, and no more than a line.
std::string printable(std::string_view text);
/// Whether a text can be stored as JSON or shown on a page as it is. A file's name need not be.
bool is_utf8(std::string_view text);
/// A path as a part of an address: all bytes that could mean something else there, or nothing, as "%E9".
std::string percent_encoded(std::string_view path);
/// `arguments` as one would type them into a shell: UTF-8 on one line. Bytes that are no part of that (a name
/// may hold any) become numbers, as in $'caf\351'.
std::string shell_quoted(std::span<const std::string> arguments);
/// The arguments of a line that shell_quoted() made.
std::vector<std::string> shell_words(std::string_view line);

}  // namespace filterscope
