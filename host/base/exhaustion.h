#pragma once

#include <filesystem>
#include <string>
#include <string_view>

namespace filterscope {

/// Whether `error`, an errno, means that the process or the machine has run out of open files, memory, or
/// processes and threads, so that the file being read or written is not at fault.
bool is_exhaustion(int error);

/// What to do about such an error, with the limit if one is set: "raise the limit of open files (`ulimit
/// -n`, now 16)".
std::string exhaustion_advice(int error);

/// "raise the limit of file sizes (`ulimit -f`, now 4096 bytes)"; empty if there is no limit.
std::string file_size_advice();

/// What to do about a file that cannot be opened or read because of `error`: "", or "; " and the advice.
std::string reading_advice(int error);

/// Why no file or folder can be reached at `path`: "no such file or folder", or the system's reason.
std::string missing_text(const std::filesystem::path& path);

/// Throws a device Error with `what`, the system's reason for `error`, and exhaustion_advice().
[[noreturn]] void throw_exhaustion(std::string_view what, int error);

}  // namespace filterscope
