#include "host/base/memory.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <optional>
#include <string>
#include <utility>

#include "tests/support/temporary_folder.h"

namespace filterscope {
namespace {

// A made-up root with the files of /proc and /sys that tell how much memory there is.
class AvailableMemory : public testing::Test {
 protected:
  void write(const std::string& path, const std::string& text) const {
    const std::filesystem::path file = root_.path() / path;
    std::filesystem::create_directories(file.parent_path());
    std::ofstream(file) << text << "\n";
  }
  std::optional<std::uint64_t> available() const { return available_memory(root_.path()); }

  const TemporaryFolder root_;
};

TEST_F(AvailableMemory, IsUnknownWhereNothingTells) {
  EXPECT_EQ(available(), std::nullopt);
  write("proc/meminfo", "MemTotal: 10 kB");
  EXPECT_EQ(available(), std::nullopt);
}

TEST_F(AvailableMemory, IsTheMachinesAtMost) {
  write("proc/meminfo", "MemTotal:       24000 kB\nMemFree: 1 kB\nMemAvailable:   7000 kB\nBuffers: 3 kB");
  EXPECT_EQ(available(), 7000u * 1024);
}

TEST_F(AvailableMemory, IsTheLeastThatAGroupOfV2LeavesWithoutItsCache) {
  write("proc/meminfo", "MemAvailable: 7000 kB");
  write("proc/self/mountinfo", "31 24 0:27 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw");
  write("proc/self/cgroup", "0::/a/b");
  write("sys/fs/cgroup/a/b/memory.max", "max");
  write("sys/fs/cgroup/a/b/memory.current", "5000");
  EXPECT_EQ(available(), 7000u * 1024);
  write("sys/fs/cgroup/a/memory.max", "100000");
  write("sys/fs/cgroup/a/memory.current", "60000");
  EXPECT_EQ(available(), 40000u);
  write("sys/fs/cgroup/a/memory.stat", "anon 1\ninactive_file 15000\nactive_file 2");
  EXPECT_EQ(available(), 55000u);
  write("sys/fs/cgroup/a/memory.current", "200000");
  write("sys/fs/cgroup/a/memory.stat", "anon 1");
  EXPECT_EQ(available(), 0u);
}

TEST_F(AvailableMemory, IsTheLeastThatAGroupOfV1Leaves) {
  write("proc/self/mountinfo", "33 31 0:30 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory");
  write("proc/self/cgroup", "8:memory:/job\n4:cpu,cpuacct:/other");
  write("sys/fs/cgroup/memory/job/memory.limit_in_bytes", "9223372036854771712");
  write("sys/fs/cgroup/memory/job/memory.usage_in_bytes", "30000");
  EXPECT_EQ(available(), 9223372036854741712u);
  write("sys/fs/cgroup/memory/job/memory.limit_in_bytes", "50000");
  EXPECT_EQ(available(), 20000u);
}

TEST_F(AvailableMemory, IsWhatTheLimitsOfTheProcessLeave) {
  write("proc/self/statm", "1000 200 30 1 0 60 0");
  const auto page = static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE));
  for (const auto& [resource, pages] : {std::pair{RLIMIT_AS, 1000}, std::pair{RLIMIT_DATA, 60}}) {
    rlimit limits{};
    ASSERT_EQ(getrlimit(resource, &limits), 0);
    constexpr rlim_t kLimit = rlim_t{1} << 46;  // More than any test needs.
    const rlimit lower{kLimit, limits.rlim_max};
    ASSERT_EQ(setrlimit(resource, &lower), 0);
    EXPECT_EQ(available(), kLimit - pages * page);
    ASSERT_EQ(setrlimit(resource, &limits), 0);
  }
}

TEST(AvailableMemoryHere, IsSome) {
  EXPECT_GT(available_memory(), std::uint64_t{1} << 20);
}

}  // namespace
}  // namespace filterscope
