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

inline constexpr int kLargestBatch = 65536;
inline constexpr int kMostThreads = 4096;
/// Exit code of a command that was interrupted.
inline constexpr int kInterrupted = 130;
/// The folder that `render` writes and `gallery` reads by default.
inline constexpr const char* kDefaultOut = "filterscope-out";

/// The height and width that --size asks for.
std::optional<int> parse_size(const Arguments& options, const Network& network);
/// The value of --weights, for resolve_weights().
std::optional<std::string> parse_weights(const Arguments& options);
/// Throws a usage Error if `options` holds positional arguments, which `command` does not take.
void refuse_positional(std::string_view command, const Arguments& options);
/// Throws a usage Error if `out`, the folder of --out, is not a run's and holds a file of `names` that is not
/// filterscope's: other programs use such names, too, and the file would be replaced. The message ends with
/// `remedy`.
void refuse_foreign_files(const std::filesystem::path& out, std::span<const std::string_view> names,
                          std::string_view remedy);
/// The files that a run, and a comparison of two runs, write to the top of their folder.
inline constexpr std::array<std::string_view, 3> kRunFiles{kPageFile, kTracesFile, kPosterFile};
inline constexpr std::array<std::string_view, 1> kComparisonFiles{kPageFile};

}  // namespace filterscope::cli
