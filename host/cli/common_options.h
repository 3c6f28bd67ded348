#pragma once

#include <array>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "../model/network.h"
#include "../store/file_names.h"
#include "options.h"

namespace filterscope::cli {

/// Larger images than this exceed any machine's memory; the bound keeps sizes far from overflow.
inline constexpr int kLargestImage = 16384;
inline constexpr int kMostIterations = 1'000'000'000;
inline constexpr int kLargestBatch = 65536;
inline constexpr int kMostThreads = 4096;
/// Exit code of a command that was interrupted.
inline constexpr int kInterrupted = 130;
/// Where `render` writes and `gallery` looks.
inline constexpr const char* kDefaultOut = "filterscope-out";

/// --size as a square, `fallback` without it.
Extent parse_size(const Arguments& options, const Network& network, int fallback);
/// --weights; where it leads is decided by resolve_weights().
std::optional<std::string> parse_weights(const Arguments& options);
/// A usage Error when `options` holds positional arguments, which `command` does not take.
void refuse_positional(std::string_view command, const Arguments& options);
/// A usage Error where `out`, that of --out, has a file of `names` that is neither this program's nor in a
/// run's folder and would be replaced: others are likely to have such files, too. The message ends with
/// `remedy`.
void refuse_foreign_files(const std::filesystem::path& out, std::span<const std::string_view> names,
                          std::string_view remedy);
/// What a run, and what a comparison of runs writes beside its folders.
inline constexpr std::array<std::string_view, 3> kRunFiles{kPageFile, kTracesFile, kPosterFile};
inline constexpr std::array<std::string_view, 1> kComparisonFiles{kPageFile};

}  // namespace filterscope::cli
