#include "shard.h"

#include <fmt/format.h>

#include "../base/error.h"
#include "options.h"

namespace filterscope::cli {

Shard parse_shard(const std::string& text, const Environment& environment) {
  if (text == "auto") return shard_of_launcher(environment);
  const std::size_t slash = text.find('/');
  if (slash != std::string::npos) {
    try {
      const auto count = parse_integer("", text.substr(slash + 1), 1, kMostShards);
      const auto index = parse_integer("", text.substr(0, slash), 1, count);
      return {static_cast<int>(index), static_cast<int>(count)};
    } catch (const Error&) {  // It names only a part of the text; the error below names all of it.
    }
  }
  throw Error(
      ErrorKind::usage,
      fmt::format("--shard: expected auto or I/N with I from 1 to N, such as 1/4, and N up to {}, found "
                  "\"{}\"",
                  kMostShards, text));
}

std::string shard_folder(Shard shard) {
  const std::string count = std::to_string(shard.count);
  return fmt::format("shard-{:0{}}-of-{}", shard.index, count.size(), count);
}

std::optional<Shard> shard_of_folder(const std::string& name) {
  const std::string prefix = "shard-", of = "-of-";
  const std::size_t place = name.find(of);
  if (!name.starts_with(prefix) || place == std::string::npos) return std::nullopt;
  try {
    const Shard shard = parse_shard(
        name.substr(prefix.size(), place - prefix.size()) + "/" + name.substr(place + of.size()), {});
    return name == shard_folder(shard) ? std::optional(shard) : std::nullopt;
  } catch (const Error&) {
    return std::nullopt;
  }
}

}  // namespace filterscope::cli
