#include "launcher.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <climits>
#include <cstdint>
#include <cstdlib>

#include "../base/error.h"
#include "options.h"
#include "shard.h"

namespace filterscope::cli {

namespace {

struct Names {
  const char* rank;
  const char* size;
};
// MPI's launchers come before srun, since some of them start their daemons with it.
constexpr std::array kRanks{Names{"OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"},
                            Names{"PMI_RANK", "PMI_SIZE"}, Names{"SLURM_PROCID", "SLURM_STEP_NUM_TASKS"}};
constexpr std::array kLocalRanks{Names{"OMPI_COMM_WORLD_LOCAL_RANK", "OMPI_COMM_WORLD_LOCAL_SIZE"},
                                 Names{"MPI_LOCALRANKID", "MPI_LOCALNRANKS"},
                                 Names{"PMI_LOCAL_RANK", "PMI_LOCAL_SIZE"}};

std::int64_t parse_variable(const char* name, const Environment& environment, std::int64_t low,
                            std::int64_t high) {
  const auto text = environment(name);
  if (!text) {
    throw Error(
        ErrorKind::usage,
        fmt::format("--shard auto: expected the environment variable {} along with the launcher's others, "
                    "but it is not set; write --shard I/N",
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
  // A list such as 3,5,9 does not say how many shares there are.
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

// Removes a number of at least `low` from the start of `text`.
std::optional<int> take_number(std::string_view& text, int low) {
  int value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || value < low) return std::nullopt;
  text.remove_prefix(static_cast<std::size_t>(end - text.data()));
  return value;
}

std::optional<int> number(const Environment& environment, const char* name, int low) {
  const auto text = environment(name);
  std::string_view rest = text ? *text : std::string_view();
  const auto value = take_number(rest, low);
  return rest.empty() ? value : std::nullopt;
}

// Slurm writes "4(x2),1" for nodes with 4, 4 and 1 tasks.
std::optional<int> tasks_of_node(std::string_view text, int node) {
  while (true) {
    const auto tasks = take_number(text, 1);
    if (!tasks) return std::nullopt;
    int nodes = 1;
    if (text.starts_with("(x")) {
      text.remove_prefix(2);
      const auto times = take_number(text, 1);
      if (!times || !text.starts_with(')')) return std::nullopt;
      text.remove_prefix(1);
      nodes = *times;
    }
    if (node < nodes) return tasks;
    node -= nodes;
    if (!text.starts_with(',')) return std::nullopt;
    text.remove_prefix(1);
  }
}

}  // namespace

std::optional<std::string> environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr || *value == '\0' ? std::nullopt : std::optional<std::string>(value);
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

LocalRank local_rank(const Environment& environment) {
  for (const Names& names : kLocalRanks) {
    const auto rank = number(environment, names.rank, 0);
    const auto size = number(environment, names.size, 1);
    if (rank && size && *rank < *size) return {*rank, *size};
  }
  const auto rank = number(environment, "SLURM_LOCALID", 0);
  const auto per_node = environment("SLURM_STEP_TASKS_PER_NODE");
  if (!rank || !per_node) return {};
  const int node = number(environment, "SLURM_NODEID", 0).value_or(0);
  const auto size = tasks_of_node(*per_node, node);
  return size && *rank < *size ? LocalRank{*rank, *size} : LocalRank{};
}

std::optional<int> threads_of_launcher(const Environment& environment, int available, int processors) {
  if (environment("OMP_NUM_THREADS")) return std::nullopt;
  const int ranks = local_rank(environment).size;
  const auto of_task = number(environment, "SLURM_CPUS_PER_TASK", 1);
  const auto of_node = number(environment, "SLURM_CPUS_ON_NODE", 1);
  if (ranks == 1 && !of_task && !of_node) return std::nullopt;
  const int threads =
      std::min({available, processors / ranks, of_task.value_or(INT_MAX), of_node.value_or(INT_MAX) / ranks});
  return std::max(1, threads);
}

}  // namespace filterscope::cli
