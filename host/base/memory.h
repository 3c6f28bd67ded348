#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>

namespace filterscope {

/// Bytes of memory that this process can still get: what the machine has available, at most what its control
/// groups and its limits of memory (`ulimit -v`, `ulimit -d`) leave. Nothing if none of them is known.
/// `root`: the folder below which proc/ and sys/ are looked for.
std::optional<std::uint64_t> available_memory(const std::filesystem::path& root = "/");

}  // namespace filterscope
