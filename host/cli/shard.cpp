#include "shard.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstdlib>

#include "../error.h"
#include "options.h"

namespace filterscope::cli {

namespace {

constexpr int kMostShards = 100'000;

struct Names {
  const char* rank;
  const char* size;
};
// The launchers of MPI before srun, which some of them use to start their daemons.
constexpr std::array kRanks{Names{"OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"},
                            Names{"PMI_RANK", "PMI_SIZE"}, Names{"SLURM_PROCID", "SLURM_STEP_NUM_TASKS"}};

std::int64_t parse_variable(const char* name, const Environment& environment, std::int64_t low,
                            std::int64_t high) {
  const auto text = environment(name);
  if (!text) {
    throw Error(
        ErrorKind::usage,
        fmt::format("--shard auto: expected the environment variable {} beside the launcher's others, "
                    "found none; write --shard I/N",
                    name));
  }
  return parse_integer(fmt::format("--shard auto: ${}", name), *text, low, high);
}

std::optional<Shard> array_task(const Environment& environment) {
  if (!environment("SLURM_ARRAY_TASK_ID")) return std::nullopt;
  const auto number = [&](const char* name, std::int64_t low) {
    return parse_variable(name, environment, low, INT32_MAX);
  };
  const std::int64_t id = number("SLURM_ARRAY_TASK_ID", 0);
  const std::int64_t first = number("SLURM_ARRAY_TASK_MIN", 0);
  const std::int64_t last = number("SLURM_ARRAY_TASK_MAX", first);
  const std::int64_t step = number("SLURM_ARRAY_TASK_STEP", 1);
  const std::int64_t count = number("SLURM_ARRAY_TASK_COUNT", 1);
  // A list such as 3,5,9 does not say of how many shares these are.
  if ((last - first) / step + 1 != count || (id - first) % step != 0 || id < first || id > last) {
    throw Error(
        ErrorKind::usage,
        fmt::format("--shard auto: expected a Slurm job array that is one range, such as --array=1-8, "
                    "found task {} of {} tasks from {} to {}; write --shard I/N",
                    id, count, first, last));
  }
  return Shard{static_cast<int>((id - first) / step) + 1, static_cast<int>(count)};
}

std::optional<Shard> rank(const Environment& environment) {
  for (const Names& names : kRanks) {
    if (!environment(names.rank) || !environment(names.size)) continue;
    const std::int64_t size = parse_variable(names.size, environment, 1, kMostShards);
    const std::int64_t rank = parse_variable(names.rank, environment, 0, size - 1);
    return Shard{static_cast<int>(rank) + 1, static_cast<int>(size)};
  }
  return std::nullopt;
}

Shard shard_of_launcher(const Environment& environment) {
  const auto task = array_task(environment);
  const auto process = rank(environment);
  if (!task && !process) {
    throw Error(ErrorKind::usage,
                "--shard auto: expected a Slurm job array, srun or mpirun around this process (environment "
                "variables SLURM_ARRAY_TASK_ID, OMPI_COMM_WORLD_RANK, PMI_RANK or SLURM_PROCID), found none; "
                "write --shard I/N");
  }
  const Shard outer = task.value_or(Shard{});
  const Shard inner = process.value_or(Shard{});
  const std::int64_t count = std::int64_t{outer.count} * inner.count;
  if (count > kMostShards) {
    throw Error(ErrorKind::usage,
                fmt::format("--shard auto: expected at most {} shares, found {}", kMostShards, count));
  }
  return {(outer.index - 1) * inner.count + inner.index, static_cast<int>(count)};
}

}  // namespace

std::optional<std::string> environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr || *value == '\0' ? std::nullopt : std::optional<std::string>(value);
}

Shard parse_shard(const std::string& text, const Environment& environment) {
  if (text == "auto") return shard_of_launcher(environment);
  const std::size_t slash = text.find('/');
  if (slash != std::string::npos) {
    try {
      const auto count = parse_integer("", text.substr(slash + 1), 1, kMostShards);
      const auto index = parse_integer("", text.substr(0, slash), 1, count);
      return {static_cast<int>(index), static_cast<int>(count)};
    } catch (const Error&) {  // Of a part; the whole says more.
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

}  // namespace filterscope::cli
