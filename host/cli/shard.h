#pragma once

#include <optional>
#include <string>

#include "../run/shard.h"
#include "launcher.h"

namespace filterscope::cli {

inline constexpr int kMostShards = 100'000;

/// Parses --shard: `I/N`, or `auto` for the launcher's (shard_of_launcher()). A usage Error for anything
/// else, and for `auto` without a launcher.
Shard parse_shard(const std::string& text, const Environment& environment);

/// The name of a share's folder in that of all shares: "shard-03-of-16".
std::string shard_folder(Shard shard);

/// The share whose folder has this name; nothing if shard_folder() gives no such name.
std::optional<Shard> shard_of_folder(const std::string& name);

}  // namespace filterscope::cli
