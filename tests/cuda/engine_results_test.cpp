// When the CUDA engine delivers its results. See engine_test.cpp.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <stdexcept>
#include <stop_token>
#include <vector>

#include "engine_fixtures.h"
#include "tests/support/random_network.h"

namespace filterscope {
namespace {

// An observer that takes results when the test lets it.
class SlowObserver : public RenderObserver {
 public:
  void on_finished(FilterResult result) override {
    if (fails_at == std::ssize(finished)) throw std::runtime_error("no room on the disk");
    finished.push_back({result.id, progress, asked});
  }
  bool has_room(std::size_t bytes) override {
    result_bytes = bytes;
    ++asked;
    return room_every > 0 && asked % room_every == 0;
  }
  void on_progress(std::int64_t steps) override {
    progress += steps;
    if (stop_after > 0 && progress >= stop_after) stop.request_stop();
  }
  void on_loss(FilterId, TracePoint) override {}

  struct Finished {
    FilterId id;
    std::int64_t progress;  // At that time.
    int asked;
  };
  std::vector<FilterId> ids() const {
    std::vector<FilterId> all;
    for (const Finished& one : finished) all.push_back(one.id);
    std::ranges::sort(all);
    return all;
  }

  int room_every = 0;  // There is room every so many calls; 0: never.
  std::ptrdiff_t fails_at = -1;
  std::int64_t stop_after = 0;
  std::stop_source stop;
  std::vector<Finished> finished;
  std::size_t result_bytes = 0;
  std::int64_t progress = 0;
  int asked = 0;
};

class CudaEngineResults : public testing::Test {
 protected:
  // Three batches of two, and more iterations than the host runs ahead.
  static constexpr int kIterations = 25;
  static constexpr int kAhead = 8;
  CudaEngineResults() { options_.batch = 2; }
  void render(SlowObserver& observer) const {
    make_native_renderer(network_, weights_, short_recipe(kIterations), options_)
        ->render(filters_, observer, observer.stop.get_token());
  }
  // Runs `test`; on the emulated device, also with work done as late as possible.
  template <class Test>
  static void however_late(Test test) {
    test();
#if defined(FILTERSCOPE_EMULATED)
    SCOPED_TRACE("late");
    emulation::set_lateness(emulation::Lateness::late);
    test();
    emulation::set_lateness(emulation::Lateness::none);
#endif
  }

  const Network network_ = test::make_network({{64}, {64}});
  const Weights weights_ = test::random_weights(network_, 3);
  RunOptions options_ = options_for({4, 5});
  const std::vector<FilterId> filters_{{1, 0}, {1, 1}, {1, 2}, {1, 3}, {1, 4}, {1, 5}};
};

TEST_F(CudaEngineResults, WaitForAnObserverWithoutRoomUntilAllIsEnqueued) {
  however_late([&] {
    SlowObserver observer;
    render(observer);
    EXPECT_EQ(observer.ids(), filters_);
    EXPECT_EQ(observer.progress, 6 * kIterations);
    // The results of a batch arrived when the device had at most the last iterations of the next batch left.
    for (std::size_t i = 0; i < observer.finished.size(); ++i) {
      const int batches = std::min(static_cast<int>(i) / 2 + 2, 3);
      EXPECT_GE(observer.finished[i].progress, 2 * (batches * kIterations - kAhead - 1)) << i;
    }
  });
}

TEST_F(CudaEngineResults, ComeWhenThereIsRoom) {
  however_late([&] {
    SlowObserver observer;
    observer.room_every = 3;
    render(observer);
    EXPECT_EQ(observer.ids(), filters_);
    for (std::size_t i = 0; i < 4; ++i) {
      EXPECT_LT(observer.finished[i].progress, 2 * (kIterations * (static_cast<int>(i) / 2 + 2) - 1)) << i;
      EXPECT_EQ(observer.finished[i].asked % 3, 0) << i;
    }
  });
}

TEST_F(CudaEngineResults, OfAFinishedBatchAreDeliveredWhenStopped) {
  however_late([&] {
    SlowObserver observer;
    observer.stop_after = 2 * (kIterations + 3);
    render(observer);
    EXPECT_EQ(observer.ids(), (std::vector<FilterId>{{1, 0}, {1, 1}}));
  });
}

TEST_F(CudaEngineResults, ThatTheObserverCannotTakeEndTheRun) {
  for (const int room_every : {0, 1, 2}) {
    however_late([&] {
      SlowObserver observer;
      observer.room_every = room_every;
      observer.fails_at = 1;
      EXPECT_THROW(render(observer), std::runtime_error);
      EXPECT_EQ(observer.ids().size(), 1u);
    });
  }
}

#if defined(FILTERSCOPE_EMULATED)

// With frames, results are so large that a slice holds only one.
TEST_F(CudaEngineResults, ComeInSlices) {
  options_ = options_for({48, 48});
  options_.batch = 4;
  options_.keep_images = false;
  options_.frame_every = 1;
  SlowObserver observer;
  observer.room_every = 1;
  const std::vector<FilterId> filters{{0, 0}, {0, 1}, {0, 2}, {0, 3}, {0, 4}, {0, 5}, {0, 6}, {0, 7}};
  make_native_renderer(network_, weights_, short_recipe(80), options_)->render(filters, observer, {});
  EXPECT_EQ(observer.ids(), filters);
  EXPECT_GT(observer.result_bytes, std::size_t{1} << 19);
  // The first arrives at the end of its batch, and no iteration is enqueued between it and the second.
  for (int i = 2; i < 4; ++i) EXPECT_EQ(observer.finished[i].progress, observer.finished[i - 1].progress + 4);
  EXPECT_EQ(observer.finished[3].asked, 4);
}

#endif

}  // namespace
}  // namespace filterscope
