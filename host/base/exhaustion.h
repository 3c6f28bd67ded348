#pragma once

#include <filesystem>
#include <string>
#include <string_view>

namespace filterscope {

/// Whether `error`, an errno, says that the process or the machine has run out of open files, memory, or
/// processes and threads. Whatever was being done then is not at fault.
bool is_exhaustion(int error);

/// What to do about such an error, with the limit where one is set: "raise the limit of open files (`ulimit
/// -n`, now 16)".
std::string exhaustion_advice(int error);

/// "raise the limit of file sizes (`ulimit -f`, now 4096 bytes)", or nothing where there is none.
std::string file_size_advice();

/// What to do about a file that cannot be opened or read because of `error`: "", or "; " and the advice.
std::string reading_advice(int error);

/// What is wrong with a `path` that names no file and no folder that can be reached: "no such file or
/// folder", or why it cannot be looked at.
std::string missing_text(const std::filesystem::path& path);

/// A device Error: `what`, the system's reason for `error`, and exhaustion_advice().
[[noreturn]] void throw_exhaustion(std::string_view what, int error);

}  // namespace filterscope
