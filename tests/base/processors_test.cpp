#include "host/base/processors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include "host/base/error.h"
#include "tests/support/temporary_folder.h"

namespace filterscope {
namespace {

// A made-up root with the files of /proc and /sys that describe control groups.
class CpuQuota : public testing::Test {
 protected:
  void write(const std::string& path, const std::string& text) const {
    const std::filesystem::path file = root_.path() / path;
    std::filesystem::create_directories(file.parent_path());
    std::ofstream(file) << text << "\n";
  }
  std::optional<double> quota() const { return cpu_quota(root_.path()); }

  const TemporaryFolder root_;
};

constexpr const char* kV2 =
    "24 1 0:22 / /proc rw,relatime - proc proc rw\n"
    "31 24 0:27 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate";
constexpr const char* kV1 =
    "33 31 0:30 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
    "34 31 0:31 / /sys/fs/cgroup/cpu,cpuacct rw shared:5 - cgroup cgroup rw,cpu,cpuacct";

TEST_F(CpuQuota, UnknownMeansNoLimit) {
  EXPECT_EQ(quota(), std::nullopt);
  write("proc/self/cgroup", "0::/user.slice");
  EXPECT_EQ(quota(), std::nullopt);
  write("proc/self/mountinfo", "garbage\n31 24 -\n\n");
  EXPECT_EQ(quota(), std::nullopt);
}

TEST_F(CpuQuota, V2IsTheLeastOfTheGroupAndThoseAboveIt) {
  write("proc/self/mountinfo", kV2);
  write("proc/self/cgroup", "0::/user.slice/job/step");
  EXPECT_EQ(quota(), std::nullopt);
  write("sys/fs/cgroup/user.slice/job/step/cpu.max", "max 100000");
  EXPECT_EQ(quota(), std::nullopt);
  write("sys/fs/cgroup/user.slice/job/cpu.max", "250000 100000");
  EXPECT_EQ(quota(), 2.5);
  write("sys/fs/cgroup/user.slice/job/step/cpu.max", "50000 100000");
  EXPECT_EQ(quota(), 0.5);
  write("sys/fs/cgroup/user.slice/cpu.max", "20000 80000");
  EXPECT_EQ(quota(), 0.25);
  write("sys/fs/cgroup/cpu.max", "10000 100000");  // The container's own root.
  EXPECT_EQ(quota(), 0.1);
}

TEST_F(CpuQuota, InAContainerThePathBeginsWithTheMountsRoot) {
  write("proc/self/mountinfo", "31 24 0:27 /docker/abc /sys/fs/cgroup ro - cgroup2 cgroup rw");
  write("proc/self/cgroup", "0::/docker/abc/worker");
  write("sys/fs/cgroup/worker/cpu.max", "150000 100000");
  EXPECT_EQ(quota(), 1.5);
  write("proc/self/cgroup", "0::/");
  write("sys/fs/cgroup/cpu.max", "300000 100000");
  EXPECT_EQ(quota(), 3);
}

TEST_F(CpuQuota, GroupsWithACommonPrefixDiffer) {
  write("proc/self/mountinfo", "31 24 0:27 /docker/abc /sys/fs/cgroup ro - cgroup2 cgroup rw");
  write("proc/self/cgroup", "0::/docker/abcdef");
  write("sys/fs/cgroup/def/cpu.max", "150000 100000");
  EXPECT_EQ(quota(), std::nullopt);
}

TEST_F(CpuQuota, V1UsesTheCpuController) {
  write("proc/self/mountinfo", kV1);
  write("proc/self/cgroup", "8:memory:/elsewhere\n4:cpu,cpuacct:/docker/abc\n0::/");
  EXPECT_EQ(quota(), std::nullopt);
  write("sys/fs/cgroup/cpu,cpuacct/docker/abc/cpu.cfs_quota_us", "-1");
  write("sys/fs/cgroup/cpu,cpuacct/docker/abc/cpu.cfs_period_us", "100000");
  EXPECT_EQ(quota(), std::nullopt);
  write("sys/fs/cgroup/cpu,cpuacct/docker/abc/cpu.cfs_quota_us", "75000");
  EXPECT_EQ(quota(), 0.75);
  write("sys/fs/cgroup/cpu,cpuacct/docker/abc/cpu.cfs_period_us", "0");
  EXPECT_EQ(quota(), std::nullopt);
}

TEST(Processors, AreThoseOfTheAffinityMask) {
  EXPECT_GE(available_processors(), 1);
  EXPECT_GE(shared_processors(), available_processors());
  cpu_set_t all;
  ASSERT_EQ(sched_getaffinity(0, sizeof all, &all), 0);
  cpu_set_t one;
  CPU_ZERO(&one);
  for (int cpu = 0; CPU_COUNT(&one) == 0; ++cpu)
    if (CPU_ISSET(cpu, &all)) CPU_SET(cpu, &one);
  ASSERT_EQ(sched_setaffinity(0, sizeof one, &one), 0);
  EXPECT_EQ(available_processors(), 1);
  ASSERT_EQ(sched_setaffinity(0, sizeof all, &all), 0);
}

class DefaultThreads : public testing::Test {
 protected:
  DefaultThreads() { clear(); }
  ~DefaultThreads() override { clear(); }

  static void clear() {
    unsetenv("OMP_NUM_THREADS");
    unsetenv("OMP_THREAD_LIMIT");
  }
};

TEST_F(DefaultThreads, AreTheProcessorsUnlessOpenMpsVariablesSayOtherwise) {
  EXPECT_EQ(default_threads(), available_processors());
  for (const char* text : {"7", " 7 ", "7,2", "7, 2"}) {
    setenv("OMP_NUM_THREADS", text, 1);
    EXPECT_EQ(default_threads(), 7) << text;
  }
  setenv("OMP_THREAD_LIMIT", "5", 1);
  EXPECT_EQ(default_threads(), 5);
  for (const char* more : {"9", "65536", "99999999999"}) {
    setenv("OMP_THREAD_LIMIT", more, 1);
    EXPECT_EQ(default_threads(), 7) << more;
  }
  setenv("OMP_NUM_THREADS", "", 1);
  unsetenv("OMP_THREAD_LIMIT");
  EXPECT_EQ(default_threads(), available_processors());
  // Variables for the binding and waiting of OpenMP's own threads have no effect.
  setenv("OMP_PROC_BIND", "close", 1);
  setenv("OMP_WAIT_POLICY", "passive", 1);
  EXPECT_EQ(default_threads(), available_processors());
  unsetenv("OMP_PROC_BIND");
  unsetenv("OMP_WAIT_POLICY");
}

TEST_F(DefaultThreads, TooManyIsAnError) {
  for (const char* text : {"4097", "99999999999"}) {
    setenv("OMP_NUM_THREADS", text, 1);
    EXPECT_THROW(default_threads(), Error) << text;
  }
}

TEST_F(DefaultThreads, AnInvalidVariableIsAnErrorThatNamesIt) {
  for (const char* name : {"OMP_NUM_THREADS", "OMP_THREAD_LIMIT"}) {
    for (const char* text : {"all", "0", "-2", "2.5", "4x", "-99999999999"}) {
      clear();
      setenv(name, text, 1);
      try {
        default_threads();
        ADD_FAILURE() << name << "=" << text;
      } catch (const Error& error) {
        EXPECT_EQ(error.kind(), ErrorKind::usage);
        EXPECT_THAT(error.what(), testing::HasSubstr(std::string("$") + name));
        EXPECT_THAT(error.what(), testing::HasSubstr(text));
        EXPECT_THAT(error.what(), testing::HasSubstr("--threads"));
      }
    }
  }
}

}  // namespace
}  // namespace filterscope
