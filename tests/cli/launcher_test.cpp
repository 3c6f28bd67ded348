// The GPU and the CPUs of a process that mpirun, srun or a Slurm job array started. (Its share:
// merge_test.cpp.)

#include "host/cli/launcher.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "host/base/processors.h"
#include "host/devices/devices.h"
#include "tests/support/program.h"

namespace filterscope {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;
using Variables = std::map<std::string, std::string>;

cli::Environment environment_of(const Variables& variables) {
  return [&variables](const char* name) -> std::optional<std::string> {
    const auto found = variables.find(name);
    return found == variables.end() ? std::nullopt : std::optional(found->second);
  };
}

std::string local(const Variables& variables) {
  const cli::LocalRank rank = cli::local_rank(environment_of(variables));
  return std::to_string(rank.rank) + " of " + std::to_string(rank.size);
}

// 0: nothing.
int threads(const Variables& variables, int available, int processors) {
  return cli::threads_of_launcher(environment_of(variables), available, processors).value_or(0);
}

TEST(CliLauncher, LocalRankIsTheOneOnThisMachine) {
  EXPECT_EQ(local({}), "0 of 1");
  EXPECT_EQ(local({{"OMPI_COMM_WORLD_RANK", "9"},
                   {"OMPI_COMM_WORLD_SIZE", "16"},
                   {"OMPI_COMM_WORLD_LOCAL_RANK", "1"},
                   {"OMPI_COMM_WORLD_LOCAL_SIZE", "4"}}),
            "1 of 4");
  EXPECT_EQ(local({{"MPI_LOCALRANKID", "3"}, {"MPI_LOCALNRANKS", "4"}}), "3 of 4");
  EXPECT_EQ(local({{"PMI_LOCAL_RANK", "2"}, {"PMI_LOCAL_SIZE", "8"}}), "2 of 8");
  const auto slurm = [](const char* rank, const char* node, const char* tasks) {
    return local({{"SLURM_LOCALID", rank}, {"SLURM_NODEID", node}, {"SLURM_STEP_TASKS_PER_NODE", tasks}});
  };
  EXPECT_EQ(slurm("2", "0", "3"), "2 of 3");
  EXPECT_EQ(slurm("2", "1", "4(x2),1"), "2 of 4");
  EXPECT_EQ(slurm("0", "2", "4(x2),1"), "0 of 1");
  EXPECT_EQ(slurm("1", "3", "1,4(x2),2"), "1 of 2");
  // srun started the daemons of mpirun.
  EXPECT_EQ(local({{"OMPI_COMM_WORLD_LOCAL_RANK", "1"},
                   {"OMPI_COMM_WORLD_LOCAL_SIZE", "4"},
                   {"SLURM_LOCALID", "0"},
                   {"SLURM_STEP_TASKS_PER_NODE", "1(x2)"}}),
            "1 of 4");
  // A batch script is not a step.
  EXPECT_EQ(local({{"SLURM_LOCALID", "0"}, {"SLURM_TASKS_PER_NODE", "4"}}), "0 of 1");
}

TEST(CliLauncher, InvalidLocalRanksAreIgnored) {
  for (const char* tasks : {"", "x", "4(x", "4(x2", "4(y2)", "0", "-3", "4,,1", "2", "4 (x2)"}) {
    EXPECT_EQ(local({{"SLURM_LOCALID", "2"}, {"SLURM_NODEID", "5"}, {"SLURM_STEP_TASKS_PER_NODE", tasks}}),
              "0 of 1")
        << tasks;
  }
  EXPECT_EQ(local({{"OMPI_COMM_WORLD_LOCAL_RANK", "4"}, {"OMPI_COMM_WORLD_LOCAL_SIZE", "4"}}), "0 of 1");
  EXPECT_EQ(local({{"MPI_LOCALRANKID", "1x"}, {"MPI_LOCALNRANKS", "4"}}), "0 of 1");
}

TEST(CliLauncher, RanksShareTheCpusOfTheirMachine) {
  EXPECT_EQ(threads({}, 8, 8), 0);
  const Variables fourth{{"OMPI_COMM_WORLD_LOCAL_RANK", "3"}, {"OMPI_COMM_WORLD_LOCAL_SIZE", "4"}};
  EXPECT_EQ(threads(fourth, 64, 64), 16);
  EXPECT_EQ(threads(fourth, 32, 64), 16);  // mpirun bound two of them to a socket,
  EXPECT_EQ(threads(fourth, 1, 64), 1);    // or each to a core.
  EXPECT_EQ(threads(fourth, 2, 2), 1);
  EXPECT_EQ(threads({{"OMPI_COMM_WORLD_LOCAL_RANK", "0"}, {"OMPI_COMM_WORLD_LOCAL_SIZE", "1"}}, 8, 8), 0);
}

TEST(CliLauncher, SlurmAllotsCpus) {
  // A task of an array, with --cpus-per-task and without.
  EXPECT_EQ(threads({{"SLURM_CPUS_PER_TASK", "8"}, {"SLURM_CPUS_ON_NODE", "8"}}, 64, 64), 8);
  EXPECT_EQ(threads({{"SLURM_CPUS_ON_NODE", "2"}}, 64, 64), 2);
  Variables step{{"SLURM_LOCALID", "0"}, {"SLURM_STEP_TASKS_PER_NODE", "4"}, {"SLURM_CPUS_ON_NODE", "32"}};
  EXPECT_EQ(threads(step, 64, 64), 8);
  step["SLURM_CPUS_PER_TASK"] = "6";
  EXPECT_EQ(threads(step, 64, 64), 6);
  EXPECT_EQ(threads(step, 4, 64), 4);  // A plugin of Slurm bound it.
  step["SLURM_CPUS_PER_TASK"] = "32";  // mpirun with four ranks in the place of one task
  EXPECT_EQ(threads(step, 64, 64), 8);
  EXPECT_EQ(threads({{"SLURM_CPUS_PER_TASK", "many"}}, 8, 8), 0);
}

TEST(CliLauncher, OpenMpVariableTakesPrecedence) {
  EXPECT_EQ(threads({{"OMP_NUM_THREADS", "3"}, {"SLURM_CPUS_PER_TASK", "8"}}, 64, 64), 0);
}

TEST(CliLauncher, RanksTakeUsableGpusInTurn) {
  const auto gpu = [](const char* id, bool usable) {
    return DeviceInfo{.id = id, .name = {}, .usable = usable, .remark = {}};
  };
  const std::vector<DeviceInfo> devices{gpu("cpu", true), gpu("cuda:0", true), gpu("cuda:1", false),
                                        gpu("cuda:2", true)};
  EXPECT_EQ(gpu_of_rank(devices, 0), "cuda:0");
  EXPECT_EQ(gpu_of_rank(devices, 1), "cuda:2");
  EXPECT_EQ(gpu_of_rank(devices, 2), "cuda:0");
  EXPECT_EQ(gpu_of_rank(devices, 5), "cuda:2");
  const std::vector<DeviceInfo> none{gpu("cpu", true), gpu("cuda:0", false)};
  EXPECT_EQ(gpu_of_rank(none, 0), std::nullopt);
}

class CliThreads : public Cli {
 protected:
  // The number of threads that the run reports.
  int used(const std::vector<std::string>& more = {}) {
    std::vector<std::string> arguments{"block1_conv1:0", "--force"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    const Outcome outcome = render(arguments);
    EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
    return manifest()["engines"][0]["threads"];
  }
};

TEST_F(CliThreads, OptionThenOpenMpThenLauncher) {
  environment_["SLURM_CPUS_PER_TASK"] = "1";
  EXPECT_EQ(used(), 1);
  environment_["OMP_NUM_THREADS"] = "3";
  EXPECT_EQ(used(), 3);
  EXPECT_EQ(used({"--threads", "2"}), 2);
  environment_ = {{"SLURM_CPUS_PER_TASK", "2"}, {"OMP_THREAD_LIMIT", "1"}};
  EXPECT_EQ(used(), 1);
  environment_["OMP_NUM_THREADS"] = "many";
  EXPECT_THAT(error_of({"render", "block1_conv1:0", "--weights", "synthetic", "--device", "cpu"}, kUsage),
              HasSubstr("$OMP_NUM_THREADS"));
}

// Modules of HPC systems set these variables, with which OpenMP's runtime binds the process to one CPU on
// load.
TEST_F(CliThreads, IgnoreOpenMpsBinding) {
  environment_["OMP_PROC_BIND"] = "close";
  environment_["OMP_PLACES"] = "cores";
  EXPECT_EQ(used(), available_processors());
}

#if !defined(__SANITIZE_ADDRESS__)  // Its runtime must be started directly.
// Some systems start every program through their own loader, which the program must not take for itself.
TEST_F(CliThreads, StartedThroughTheLoader) {
  const auto& maps = lines_of(read_text("/proc/self/maps"));
  const auto loader =
      std::ranges::find_if(maps, [](const std::string& line) { return line.find("/ld-linux") != line.npos; });
  if (loader == maps.end()) GTEST_SKIP() << "no loader of glibc's";
  program_ = {loader->substr(loader->find('/')), FILTERSCOPE_PROGRAM};
  const Outcome version = run({"--version"});
  EXPECT_EQ(version.exit_code, 0);
  EXPECT_THAT(version.out, StartsWith("filterscope "));
  EXPECT_EQ(used(), available_processors());
}
#endif

}  // namespace
}  // namespace filterscope
