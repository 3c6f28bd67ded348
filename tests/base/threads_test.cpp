#include "host/base/threads.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <atomic>
#include <cstdlib>
#include <set>
#include <stdexcept>
#include <thread>
#include <vector>

#include "host/base/error.h"

namespace filterscope {
namespace {

constexpr int kThreads = 3;

TEST(Threads, WithoutATeamTheCallerDoesEverything) {
  EXPECT_EQ(thread_count(), 1);
  std::vector<int> order;
  parallel_for(5, [&](int i) {
    EXPECT_EQ(thread_number(), 0);
    order.push_back(i);
  });
  EXPECT_EQ(order, (std::vector{0, 1, 2, 3, 4}));
}

TEST(Threads, EachAlwaysTakesTheSamePart) {
  ThreadTeam team(kThreads);
  EXPECT_EQ(team.count(), kThreads);
  const ThreadTeam::Scope scope(&team);
  EXPECT_EQ(thread_count(), kThreads);
  for (const int count : {1, 2, 3, 4, 7, 100}) {
    std::vector<int> expected(count, -1);
    for (int run = 0; run < 50; ++run) {
      std::vector<int> thread(count, -1);
      std::vector<int> times(count, 0);
      parallel_for(count, [&](int i) {
        thread[i] = thread_number();
        ++times[i];
      });
      EXPECT_EQ(times, std::vector(count, 1));
      EXPECT_TRUE(std::ranges::is_sorted(thread));
      if (run == 0) expected = thread;
      EXPECT_EQ(thread, expected);
      // The sizes of the parts differ by at most one.
      for (int number = 0; number < kThreads; ++number) {
        const auto part = std::ranges::count(thread, number);
        if (count > 1) {
          EXPECT_GE(part, count / kThreads);
          EXPECT_LE(part, (count + kThreads - 1) / kThreads);
        }
      }
    }
  }
}

// Loops that do almost nothing, and pauses in which the workers fall asleep.
TEST(Threads, NoLoopStartsBeforeTheLastOneHasEnded) {
  ThreadTeam team(kThreads);
  const ThreadTeam::Scope scope(&team);
  std::vector<int> values(64, 0);
  std::vector<int> next(64, 0);
  for (int loop = 1; loop <= 20000; ++loop) {
    // Each reads what another thread wrote in the previous loop.
    parallel_for(64, [&](int i) { next[i] = values[63 - i] + 1; });
    std::swap(values, next);
    if (loop % 4000 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  EXPECT_EQ(values, std::vector(64, 20000));
}

TEST(Threads, RowsAndTilesCoverEverythingOnce) {
  ThreadTeam team(kThreads);
  const ThreadTeam::Scope scope(&team);
  std::vector<int> times(6 * 5, 0);
  parallel_for(6, 5, [&](int row, int column) { ++times[row * 5 + column]; });
  EXPECT_EQ(times, std::vector(30, 1));
  parallel_for(0, 5, [&](int, int) { FAIL(); });

  std::vector<int> rows(2 * 10, 0);
  std::atomic<int> tiles = 0;
  parallel_tiles(2, 10, 4, [&](int image, int begin, int end) {
    ++tiles;
    EXPECT_EQ(begin % 4, 0);
    EXPECT_EQ(end, std::min(10, begin + 4));
    for (int row = begin; row < end; ++row) ++rows[image * 10 + row];
  });
  EXPECT_EQ(tiles, 6);
  EXPECT_EQ(rows, std::vector(20, 1));
}

TEST(Threads, ALoopInsideALoopIsNotShared) {
  ThreadTeam team(kThreads);
  const ThreadTeam::Scope scope(&team);
  std::vector<int> inner(kThreads * 10, -1);
  parallel_for(kThreads,
               [&](int i) { parallel_for(10, [&](int j) { inner[i * 10 + j] = thread_number(); }); });
  for (int i = 0; i < kThreads * 10; ++i) EXPECT_EQ(inner[i], i / 10);
}

// A loop of one is not shared, so the loop inside it can be.
TEST(Threads, ALoopInsideALoopOfOneIsShared) {
  ThreadTeam team(kThreads);
  const ThreadTeam::Scope scope(&team);
  std::vector<int> thread(kThreads, -1);
  parallel_for(1, [&](int) { parallel_for(kThreads, [&](int i) { thread[i] = thread_number(); }); });
  EXPECT_EQ(thread, (std::vector{0, 1, 2}));
}

TEST(Threads, TheFirstExceptionIsRethrownAndTheTeamRemainsUsable) {
  ThreadTeam team(kThreads);
  const ThreadTeam::Scope scope(&team);
  for (const int bad : {0, 5, 8}) {
    EXPECT_THROW(parallel_for(9,
                              [&](int i) {
                                if (i == bad) throw std::range_error("bad");
                              }),
                 std::range_error);
    std::atomic<int> sum = 0;
    parallel_for(9, [&](int i) { sum += i; });
    EXPECT_EQ(sum, 36);
  }
}

TEST(Threads, ScopesNestAndEnd) {
  ThreadTeam outer(2);
  ThreadTeam inner(kThreads);
  {
    const ThreadTeam::Scope first(&outer);
    EXPECT_EQ(thread_count(), 2);
    {
      const ThreadTeam::Scope second(&inner);
      EXPECT_EQ(thread_count(), kThreads);
    }
    EXPECT_EQ(thread_count(), 2);
    std::thread([] { EXPECT_EQ(thread_count(), 1); }).join();
  }
  EXPECT_EQ(thread_count(), 1);
}

#if !defined(__SANITIZE_ADDRESS__)  // It reserves terabytes of address space.
TEST(Threads, TooManyIsAnErrorThatSaysHowManyAreAllowed) {
  const auto start_many = [] {
    const rlimit limit{std::size_t{1} << 30, std::size_t{1} << 30};
    setrlimit(RLIMIT_AS, &limit);
    try {
      const ThreadTeam team(4096);
    } catch (const Error& error) {
      std::fputs(error.what(), stderr);
      std::exit(error.exit_code());
    }
    std::exit(0);
  };
  EXPECT_EXIT(start_many(), testing::ExitedWithCode(4),
              "expected to start 4096 threads, but the system allows [0-9]+: .*--threads [0-9]+");
}
#endif

}  // namespace
}  // namespace filterscope
