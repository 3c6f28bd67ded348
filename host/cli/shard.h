#pragma once

#include <optional>
#include <string>

#include "../run/shard.h"
#include "launcher.h"

namespace filterscope::cli {

inline constexpr int kMostShards = 100'000;

/// What --shard means: `I/N`, or `auto`, which asks the launcher (shard_of_launcher()). A usage Error for
/// anything else, and for `auto` where nothing tells.
Shard parse_shard(const std::string& text, const Environment& environment);

/// The folder of a share in that of all: "shard-03-of-16".
std::string shard_folder(Shard shard);

/// The share whose folder has this name; nothing if it is not one of shard_folder().
std::optional<Shard> shard_of_folder(const std::string& name);

}  // namespace filterscope::cli
