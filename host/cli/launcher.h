#pragma once

#include <functional>
#include <optional>
#include <string>

#include "../run/shard.h"

namespace filterscope::cli {

// The launcher that started this process together with others, recognised by its environment variables: Open
// MPI's mpirun, MPICH's (also Intel's and Cray's), Slurm's srun, or a Slurm job array.

/// The value of an environment variable; nothing if it is not set or empty.
using Environment = std::function<std::optional<std::string>(const char* name)>;
/// The environment of this process.
std::optional<std::string> environment(const char* name);

/// The share of this process among those that were started together: the task of a Slurm job array
/// (SLURM_ARRAY_TASK_ID, _MIN, _MAX, _STEP, _COUNT), the rank of MPI (OMPI_COMM_WORLD_RANK and _SIZE;
/// PMI_RANK and PMI_SIZE) or of srun (SLURM_PROCID and SLURM_STEP_NUM_TASKS), or both combined, if the tasks
/// of an array have ranks. A usage Error if the variables are missing or insufficient.
Shard shard_of_launcher(const Environment& environment);

/// This process among those that the launcher started on this machine, from 0.
struct LocalRank {
  int rank = 0;
  int size = 1;
};
/// From OMPI_COMM_WORLD_LOCAL_RANK and _LOCAL_SIZE; MPI_LOCALRANKID and MPI_LOCALNRANKS; PMI_LOCAL_RANK and
/// PMI_LOCAL_SIZE; or SLURM_LOCALID and SLURM_STEP_TASKS_PER_NODE. {0, 1} if they are not set or make no
/// sense.
LocalRank local_rank(const Environment& environment);

/// The number of CPUs meant for this process: each of the machine's ranks gets an equal part of its
/// `processors` and of what Slurm allots there (SLURM_CPUS_ON_NODE), at most what Slurm allots to a task
/// (SLURM_CPUS_PER_TASK) and `available`, the CPUs that the process may run on; at least 1. Nothing without a
/// launcher, or if OMP_NUM_THREADS is set.
std::optional<int> threads_of_launcher(const Environment& environment, int available, int processors);

}  // namespace filterscope::cli
