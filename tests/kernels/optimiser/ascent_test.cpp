// The state of the ascents: its start, the trace of the losses, and the step.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>

#include "host/ascent/operations/optimiser.h"
#include "kernels/head/filter_head.h"
#include "kernels/head/loss_trace.h"
#include "kernels/optimiser/normalise_and_step.h"
#include "state.h"
#include "tests/support/device.h"
#include "tests/support/random_network.h"

namespace filterscope {
namespace {

using kernels::AscentStatus;
using testing::Each;

constexpr float kInfinity = std::numeric_limits<float>::infinity();

class AscentTest : public test::DeviceTest {};
FILTERSCOPE_DEVICE_TEST_SUITE(AscentTest);

TEST_P(AscentTest, StartsClimbing) {
  const test::State state(300);
  kernels::start_ascent(state.pointers(), state.count, nullptr);
  EXPECT_THAT(test::download(state.status), Each(AscentStatus::climbing));
  EXPECT_THAT(test::download(state.steps), Each(0));
  EXPECT_THAT(test::download(state.first_losses), Each(0.f));
  EXPECT_THAT(test::download(state.losses), Each(0.f));
  EXPECT_THAT(test::download(state.gradient_norms), Each(0.f));
  EXPECT_THAT(test::download(state.inactive), Each(0));
  EXPECT_THAT(test::download(state.alive_from), Each(0));
  EXPECT_THAT(test::download(state.iteration), Each(0));
}

TEST_P(AscentTest, RecordsLossesAndTheirTrace) {
  constexpr int kImages = 1500;  // More than threads in the block.
  constexpr int kParts = kernels::kFilterHeadParts;
  constexpr int kIterations = 7;
  constexpr int kTraceEvery = 3;
  constexpr int kDead = 4;          // From the second iteration on.
  constexpr int kNonfinite = 1100;  // From the fourth iteration on.
  const test::State state(kImages);
  kernels::start_ascent(state.pointers(), kImages, nullptr);
  std::vector<float> weights(kImages);
  for (int i = 0; i < kImages; ++i) weights[i] = 1.f / static_cast<float>(9 + i % 4);
  const auto device_weights = test::upload(weights);
  const auto trace = test::poisoned<float>(kIterations / kTraceEvery * kImages);
  const cuda::PinnedBuffer<int> progress(1);
  const auto losses_of = [&](std::vector<float> sums, bool counted) {
    const auto device_sums = test::upload(sums);
    kernels::loss_trace({.sums = device_sums.data(),
                         .weights = device_weights.data(),
                         .state = state.pointers(),
                         .trace = counted ? trace.data() : nullptr,
                         .trace_every = counted ? kTraceEvery : 0,
                         .progress = counted ? progress.data() : nullptr,
                         .images_count = kImages},
                        nullptr);
    return test::download(state.losses);
  };
  std::vector<std::vector<float>> losses{{}};  // By iteration.
  for (int iteration = 1; iteration <= kIterations; ++iteration) {
    std::vector<float> sums = test::random_values(kImages * kParts, 100 + iteration);
    if (iteration == 4) sums[kNonfinite * kParts + 3] = kInfinity;
    losses.push_back(losses_of(sums, true));
    EXPECT_EQ(progress.data()[0], iteration);
    EXPECT_THAT(test::download(state.iteration), Each(iteration));
    for (int image = 0; image < kImages; ++image) {
      if ((image == kDead && iteration >= 2) || (image == kNonfinite && iteration >= 5)) {
        EXPECT_EQ(losses[iteration][image], losses[iteration - 1][image]);
      } else if (image == kNonfinite && iteration == 4) {
        EXPECT_EQ(losses[iteration][image], kInfinity);
      } else {
        double expected = 0;
        for (int part = 0; part < kParts; ++part) expected += sums[image * kParts + part];
        expected *= weights[image];
        // The terms are positive; each addition and the product round once.
        EXPECT_NEAR(losses[iteration][image], expected, kParts * 0x1p-24 * expected) << "image " << image;
      }
    }
    if (iteration == 1) test::store(state.status, kDead, AscentStatus::dead);
  }
  EXPECT_EQ(test::download(state.first_losses), losses[1]);
  const std::vector<float> traced = test::download(trace);
  for (int row = 0; row < kIterations / kTraceEvery; ++row) {
    EXPECT_TRUE(std::ranges::equal(std::span(traced).subspan(row * kImages, kImages),
                                   losses[(row + 1) * kTraceEvery]))
        << "row " << row;
  }

  // The losses of finished images do not count as an iteration, but may stop an image too.
  std::vector<float> sums = test::random_values(kImages * kParts, 99);
  sums[kParts] = std::numeric_limits<float>::quiet_NaN();
  const std::vector<float> final = losses_of(sums, false);
  EXPECT_NE(final[0], losses[kIterations][0]);
  EXPECT_EQ(final[kDead], losses[1][kDead]);
  EXPECT_EQ(test::download(state.first_losses), losses[1]);
  EXPECT_THAT(test::download(state.iteration), Each(kIterations));
  EXPECT_EQ(test::download(trace), traced);
  EXPECT_EQ(progress.data()[0], kIterations);
  const std::vector<AscentStatus> status = test::download(state.status);
  for (int image = 0; image < kImages; ++image) {
    EXPECT_EQ(status[image], image == kDead                      ? AscentStatus::dead
                             : image == kNonfinite || image == 1 ? AscentStatus::nonfinite
                                                                 : AscentStatus::climbing)
        << "image " << image;
  }
}

TEST_P(AscentTest, CountsWithoutATraceAndFinishesWithoutIterations) {
  const auto sums = test::upload(std::vector<float>(kernels::kFilterHeadParts, 1.f));
  const auto weights = test::upload(std::vector<float>{0.5f});
  for (const int iterations : {0, 2}) {
    const test::State state(1);
    kernels::start_ascent(state.pointers(), 1, nullptr);
    kernels::LossTraceArguments arguments{.sums = sums.data(),
                                          .weights = weights.data(),
                                          .state = state.pointers(),
                                          .trace = nullptr,
                                          .trace_every = 100,
                                          .progress = nullptr,
                                          .images_count = 1};
    for (int i = 0; i < iterations; ++i) kernels::loss_trace(arguments, nullptr);
    arguments.trace_every = 0;
    kernels::loss_trace(arguments, nullptr);
    EXPECT_THAT(test::download(state.iteration), Each(iterations));
    EXPECT_THAT(test::download(state.first_losses), Each(iterations == 0 ? 0.f : 4.f));
    EXPECT_THAT(test::download(state.losses), Each(4.f));
  }
}

// No position is above zero in iterations at the beginning, in the middle and at the end.
TEST_P(AscentTest, CountsIterationsWithoutAPositionAboveZero) {
  constexpr int kParts = kernels::kFilterHeadParts;
  constexpr float kSmallest = 0x1p-149f;  // The loss is zero, the sum is not.
  struct Case {
    std::vector<float> sums;  // By iteration; the last is that of the finished image.
    int inactive;
    int alive_from;
    AscentStatus status;
  };
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const std::vector<Case> cases{
      {{1, 2, 3, 4}, 0, 0, AscentStatus::climbing},
      {{0, 0, 3, 4}, 2, 3, AscentStatus::climbing},
      {{1, 0, 3, 4}, 1, 3, AscentStatus::climbing},
      {{0, 2, 0, 4}, 2, 4, AscentStatus::climbing},
      {{0, 0, 0, 0}, 3, 4, AscentStatus::dead},
      {{1, 2, 3, 0}, 0, 0, AscentStatus::dead},
      {{0, nan, 0, 4}, 1, 2, AscentStatus::nonfinite},
      {{kSmallest, 0, kSmallest, kSmallest}, 1, 3, AscentStatus::climbing},
  };
  const int count = static_cast<int>(cases.size());
  const test::State state(count);
  kernels::start_ascent(state.pointers(), count, nullptr);
  const auto weights = test::upload(std::vector<float>(cases.size(), 0.25f));
  for (std::size_t iteration = 0; iteration < 4; ++iteration) {
    std::vector<float> sums(cases.size() * kParts, 0.f);
    // In a different part each time, so that every part counts.
    for (std::size_t i = 0; i < cases.size(); ++i)
      sums[i * kParts + (3 * i + iteration) % kParts] = cases[i].sums[iteration];
    const auto device_sums = test::upload(sums);
    kernels::loss_trace({.sums = device_sums.data(),
                         .weights = weights.data(),
                         .state = state.pointers(),
                         .trace = nullptr,
                         .trace_every = iteration < 3 ? 100 : 0,
                         .progress = nullptr,
                         .images_count = count},
                        nullptr);
  }
  const std::vector<int> inactive = test::download(state.inactive);
  const std::vector<int> alive_from = test::download(state.alive_from);
  const std::vector<AscentStatus> status = test::download(state.status);
  for (std::size_t i = 0; i < cases.size(); ++i) {
    EXPECT_EQ(inactive[i], cases[i].inactive) << "case " << i;
    EXPECT_EQ(alive_from[i], cases[i].alive_from) << "case " << i;
    EXPECT_EQ(status[i], cases[i].status) << "case " << i;
  }
}

std::vector<std::uint32_t> bits(std::span<const float> values) {
  std::vector<std::uint32_t> all;
  for (const float value : values) all.push_back(std::bit_cast<std::uint32_t>(value));
  return all;
}

TEST_P(AscentTest, StepsLikeTheHostBitForBit) {
  enum Image { climbs, climbs_too, shallow, dies, overflows, loses, was_dead, was_nonfinite, kImages };
  const Stage stage;
  // More parts than lanes in a warp. Their values add up exactly in any order.
  constexpr int kParts = 37;
  constexpr int kEarlierSteps = 41;
  constexpr float kEarlierNorm = 0.5f;
  for (const int size : {33 * 35 * 3, 1, 60 * 60 * 3}) {  // The last takes several blocks of whole vectors.
    std::vector<float> squares = test::random_values(kImages * kParts, 5, 0.f, 100.f);
    for (float& square : squares) square = std::floor(square) / 128.f;
    const auto of = [&](Image image) { return std::span(squares).subspan(image * kParts, kParts); };
    std::ranges::fill(of(shallow), 0.f);
    of(shallow)[36] = 0x1p-50f;  // Less than epsilon.
    std::ranges::fill(of(dies), 0.f);
    of(overflows)[36] = kInfinity;
    const std::vector<float> before = test::random_values(static_cast<std::size_t>(size) * kImages, 1);
    const std::vector<float> gradients = test::random_values(before.size(), 2, -1.f, 1.f);

    const test::State state(kImages);
    kernels::start_ascent(state.pointers(), kImages, nullptr);
    test::store(state.losses, loses, kInfinity);
    test::store(state.losses, was_nonfinite, kInfinity);
    test::store(state.status, was_dead, AscentStatus::dead);
    test::store(state.status, was_nonfinite, AscentStatus::nonfinite);
    for (int image = 0; image < kImages; ++image) {
      test::store(state.steps, image, kEarlierSteps);
      test::store(state.gradient_norms, image, kEarlierNorm);
    }
    const auto images = test::upload(before);
    const auto device_gradients = test::upload(gradients);
    const auto device_squares = test::upload(squares);
    kernels::normalise_and_step({.images = images.data(),
                                 .gradients = device_gradients.data(),
                                 .squares = device_squares.data(),
                                 .parts = kParts,
                                 .step = stage.optimiser.step,
                                 .epsilon = stage.normalisation.epsilon,
                                 .state = state.pointers(),
                                 .images_count = kImages,
                                 .values_per_image = size},
                                nullptr);

    const std::vector<float> after = test::download(images);
    const std::vector<AscentStatus> status = test::download(state.status);
    const std::vector<int> steps = test::download(state.steps);
    const std::vector<float> norms = test::download(state.gradient_norms);
    for (int image = 0; image < kImages; ++image) {
      SCOPED_TRACE(testing::Message() << size << " values, image " << image);
      double sum = 0;
      for (const float square : of(Image(image))) sum += square;
      const bool climbing = image == climbs || image == climbs_too || image == shallow;
      std::vector<float> expected(before.begin() + image * size, before.begin() + (image + 1) * size);
      if (climbing) {
        take_step(stage, 1, normalisation_divisor(stage.normalisation, sum, size),
                  std::span(gradients).subspan(image * size, size), {}, expected);
      }
      EXPECT_EQ(bits(std::span(after).subspan(image * size, size)), bits(expected));
      EXPECT_EQ(status[image], climbing                             ? AscentStatus::climbing
                               : image == dies || image == was_dead ? AscentStatus::dead
                                                                    : AscentStatus::nonfinite);
      EXPECT_EQ(steps[image], climbing ? kEarlierSteps + 1 : kEarlierSteps);
      EXPECT_EQ(norms[image], image == was_dead ? kEarlierNorm : static_cast<float>(std::sqrt(sum)));
    }
  }
}

}  // namespace
}  // namespace filterscope
