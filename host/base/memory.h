#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>

namespace filterscope {

/// Bytes of memory that this process can still get: what the machine has available, at most what its control
/// groups and its limit of address space (`ulimit -v`) leave. Nothing where none of them can be asked.
/// `root`: the folder below which proc/ and sys/ are looked for.
std::optional<std::uint64_t> available_memory(const std::filesystem::path& root = "/");

}  // namespace filterscope
