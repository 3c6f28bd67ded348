#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cmath>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <stdexcept>
#include <string>
#include <vector>

#include "fixtures.h"
#include "host/model/weights/formats.h"
#include "host/model/weights/weights.h"

namespace filterscope {
namespace {

using testing::AllOf;
using testing::HasSubstr;

std::string child_error(
    const std::function<weights_formats::FileContents(const weights_formats::At&)>& reader) {
  const weights_formats::ChildLimits limits{.processor_seconds = 1, .scratch_bytes = std::uint64_t{64} << 20};
  return error_of([&] { weights_formats::read_in_child("some.h5", tiny(), reader, limits); });
}

TEST(ChildProcess, GivesBackLayers) {
  const auto contents = weights_formats::read_in_child("some.h5", tiny(), [](const weights_formats::At&) {
    weights_formats::Layers made(3);
    made[0] = LayerWeights{.kernel = made_values(0, 5, 108), .bias = made_values(0, 70, 4)};
    made[2] = LayerWeights{.kernel = made_values(2, 5, 90), .bias = made_values(2, 70, 2)};
    return made;
  });
  Weights weights;
  weights.layers = contents.layers;
  expect_layer(weights, 0);
  EXPECT_FALSE(weights.holds(1));
  expect_layer(weights, 2);
}

TEST(ChildProcess, ErrorsPassThrough) {
  EXPECT_EQ(child_error([](const weights_formats::At&) -> weights_formats::Layers {
              throw Error(ErrorKind::input, "some.h5: a fault");
            }),
            "some.h5: a fault");
}

// No other thread of this process may run while it forks, so its own work is done afterwards, during the
// child's.
TEST(ChildProcess, LeavesTimeForTheParent) {
  using weights_formats::At;
  using weights_formats::FileContents;
  using weights_formats::Layers;
  int calls = 0;
  const auto run = [](const std::function<FileContents(const At&)>& reader,
                      const std::function<void()>& meanwhile) {
    weights_formats::read_in_child("some.h5", tiny(), reader, {}, meanwhile);
  };
  const auto nothing = [](const At&) { return Layers(3); };
  const auto refused = [](const At&) -> Layers { throw Error(ErrorKind::input, "the child's"); };
  const auto failing = [] { throw Error(ErrorKind::input, "the parent's"); };
  run(nothing, [&calls] { ++calls; });
  EXPECT_EQ(calls, 1);
  EXPECT_EQ(error_of([&] { run(nothing, failing); }), "the parent's");
  EXPECT_EQ(error_of([&] { run(refused, failing); }), "the child's");

  // Each waits for the other.
  int to_parent[2];
  int to_child[2];
  ASSERT_EQ(pipe(to_parent), 0);
  ASSERT_EQ(pipe(to_child), 0);
  const auto meet = [](int own, int other) {
    constexpr int kMilliseconds = 20'000;
    char byte = 0;
    pollfd readable{.fd = other, .events = POLLIN, .revents = 0};
    const bool met = ::write(own, &byte, 1) == 1 && poll(&readable, 1, kMilliseconds) == 1;
    if (!met) throw Error(ErrorKind::input, "waited in vain");
  };
  EXPECT_NO_THROW(run(
      [&](const At&) {
        meet(to_parent[1], to_child[0]);
        return Layers(3);
      },
      [&] { meet(to_child[1], to_parent[0]); }));
  for (const int end : {to_parent[0], to_parent[1], to_child[0], to_child[1]}) close(end);
}

TEST(ChildProcess, CrashIsAnError) {
  for (const int number : {SIGSEGV, SIGABRT, SIGFPE, SIGKILL}) {
    EXPECT_THAT(child_error([number](const weights_formats::At& at) -> weights_formats::Layers {
                  at("layer block1_conv1");
                  raise(number);
                  return {};
                }),
                AllOf(HasSubstr("some.h5: "), HasSubstr("at layer block1_conv1; the file is damaged")));
  }
}

TEST(ChildProcess, EndlessLoopIsAnError) {
  sigset_t blocked;
  sigfillset(&blocked);
  sigprocmask(SIG_BLOCK, &blocked, nullptr);
  EXPECT_THAT(child_error([](const weights_formats::At&) -> weights_formats::Layers {
                volatile bool forever = true;
                while (forever) {
                }
                return {};
              }),
              HasSubstr("ran too long"));
}

TEST(ChildProcess, BoundlessMemoryIsAnError) {
#if defined(__SANITIZE_ADDRESS__)
  GTEST_SKIP() << "the address sanitizer needs all address space";
#endif
  EXPECT_THAT(child_error([](const weights_formats::At&) {
                std::vector<std::vector<char>> all;
                for (int i = 0; i < 1 << 11; ++i) all.emplace_back(1 << 20);
                return weights_formats::Layers(all.size());
              }),
              HasSubstr("more memory than these weights can need"));
}

// If this process's own limit is too low, the file is not at fault.
TEST(ChildProcess, LittleMemoryIsNoFaultOfTheFile) {
#if defined(__SANITIZE_ADDRESS__)
  GTEST_SKIP() << "the address sanitizer needs all address space";
#endif
  rlimit before{};
  getrlimit(RLIMIT_AS, &before);
  const auto error_below = [&](std::uint64_t megabytes, const Network& network) {
    return error_of(
        [&] {
          std::ifstream statm("/proc/self/statm");
          std::uint64_t pages = 0;
          statm >> pages;
          const rlimit limit{pages * static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE)) + (megabytes << 20),
                             before.rlim_max};
          setrlimit(RLIMIT_AS, &limit);
          try {
            weights_formats::read_in_child("some.h5", network, [](const weights_formats::At&) {
              return weights_formats::Layers(std::vector<char>(std::size_t{1} << 30).size());
            });
          } catch (...) {
            setrlimit(RLIMIT_AS, &before);
            throw;
          }
        },
        ErrorKind::device);
  };
  EXPECT_THAT(error_below(20, vgg16()), AllOf(HasSubstr("some.h5: no memory"), HasSubstr("`ulimit -v`")));
  EXPECT_THAT(error_below(100, tiny()), AllOf(HasSubstr("some.h5: the reader ended"),
                                              HasSubstr("`ulimit -v`"), testing::Not(HasSubstr("damaged"))));
}

TEST(ChildProcess, StrangeEndsAreErrors) {
  EXPECT_THAT(
      child_error([](const weights_formats::At&) -> weights_formats::Layers { throw std::logic_error("?"); }),
      HasSubstr("gave up (exit code 3)"));
  EXPECT_THAT(child_error([](const weights_formats::At&) -> weights_formats::Layers { _exit(0); }),
              HasSubstr("damaged"));
}

TEST(ChildProcess, WorksWhenChildrenAreIgnored) {
  signal(SIGCHLD, SIG_IGN);
  expect_layer(load_weights(kData / "keras1_fixed.h5", tiny()), 1);
  EXPECT_THAT(load_error(kData / "nan.h5"), HasSubstr("nan at"));
}

}  // namespace
}  // namespace filterscope
