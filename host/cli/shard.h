#pragma once

#include <functional>
#include <optional>
#include <string>

#include "../shard.h"

namespace filterscope::cli {

/// The value of an environment variable; nothing where it is not set.
using Environment = std::function<std::optional<std::string>(const char* name)>;
/// The process's own.
std::optional<std::string> environment(const char* name);

/// What --shard means: `I/N`, or `auto`, the share of this process among those that were started together, as
/// their launcher tells: the task of a Slurm job array (SLURM_ARRAY_TASK_ID, _MIN, _MAX, _STEP, _COUNT), the
/// rank of MPI (OMPI_COMM_WORLD_RANK and _SIZE; PMI_RANK and PMI_SIZE) or of srun (SLURM_PROCID and
/// SLURM_STEP_NUM_TASKS), or, where an array's tasks have ranks, both together. A usage Error for anything
/// else, and for `auto` where nothing tells.
Shard parse_shard(const std::string& text, const Environment& environment);

/// The folder of a share in that of all: "shard-03-of-16".
std::string shard_folder(Shard shard);

}  // namespace filterscope::cli
