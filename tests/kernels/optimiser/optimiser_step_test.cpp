#include "kernels/optimiser/optimiser_step.h"

#include <gmock/gmock.h>

#include <cmath>
#include <limits>

#include "host/cuda/stage_arguments.h"
#include "kernels/optimiser/normalise_and_step.h"
#include "kernels/optimiser/sum_of_squares.h"
#include "state.h"
#include "tests/kernels/image/images.h"

namespace filterscope {
namespace {

using kernels::AscentStatus;

class OptimiserStepTest : public test::DeviceTest {};
FILTERSCOPE_DEVICE_TEST_SUITE(OptimiserStepTest);

constexpr float kInfinity = std::numeric_limits<float>::infinity();

TEST_P(OptimiserStepTest, SumsSquaresInParts) {
  for (const int size : {1, 4095, 4096, 9000}) {
    constexpr int kImages = 3;
    const std::vector<float> values = test::random_values(std::size_t{kImages} * size, 1, -1.f);
    const auto device_values = test::upload(values);
    const int parts = kernels::square_parts(size);
    const auto squares = test::poisoned<float>(kImages * parts);
    kernels::sum_of_squares(device_values.data(), squares.data(), kImages, size, nullptr);
    const std::vector<float> found = test::download(squares);
    for (int i = 0; i < kImages; ++i) {
      double sum = 0;
      for (const float part : test::image_of(found, i, parts)) sum += part;
      double expected = 0;
      for (const double value : test::image_of(values, i, size)) expected += value * value;
      // 16 terms a thread, five additions a warp and eight warps.
      EXPECT_NEAR(sum, expected, 30 * 0x1p-24 * expected);
    }
  }
}

// A batch whose first images climb.
struct Batch {
  enum Image { climbs, climbs_too, still, overflows, loses, was_dead, was_nonfinite, kImages };
  static constexpr int kParts = 37;  // More than lanes in a warp.
  static constexpr int kEarlierSteps = 41;
  static constexpr float kEarlierNorm = 0.5f;

  Batch(const Stage& of, int values, bool stops, int iterations_before)
      : stage(of),
        size(values),
        stops_when_still(stops),
        earlier(iterations_before),
        state(kImages),
        start(test::random_values(static_cast<std::size_t>(size) * kImages, 1, -1.f)),
        parameters(test::upload(start)),
        first(test::upload(std::vector<float>(start.size(), 0.f))),
        second(test::upload(std::vector<float>(start.size(), 0.f))) {
    for (int image = 0; image < kImages; ++image) {
      test::store(state.status, image,
                  image == was_dead        ? AscentStatus::dead
                  : image == was_nonfinite ? AscentStatus::nonfinite
                                           : AscentStatus::climbing);
      test::store(state.losses, image, image == loses || image == was_nonfinite ? kInfinity : 1.f);
      test::store(state.steps, image, kEarlierSteps);
      test::store(state.gradient_norms, image, kEarlierNorm);
    }
  }

  static std::vector<float> gradients(int size, int iteration) {
    std::vector<float> all =
        test::random_values(static_cast<std::size_t>(size) * kImages, 10 + iteration, -1.f);
    std::ranges::fill(std::span(all).subspan(std::size_t{still} * size, size), 0.f);
    return all;
  }

  void step(int iteration) {
    test::store(state.iteration, 0, earlier + iteration);
    const std::vector<float> gradient = gradients(size, iteration);
    std::vector<float> squares(kImages * kParts, 0.f);
    for (int image = 0; image < kImages; ++image) {
      double sum = 0;
      for (const double value : test::image_of(gradient, image, size)) sum += value * value;
      for (int part = 0; part < kParts; ++part)
        squares[image * kParts + part] = static_cast<float>(sum / kParts);
      if (image == overflows) squares[image * kParts + 36] = kInfinity;
    }
    const auto device_gradient = test::upload(gradient);
    const auto device_squares = test::upload(squares);
    kernels::optimiser_step({.parameters = parameters.data(),
                             .gradients = device_gradient.data(),
                             .squares = device_squares.data(),
                             .parts = kParts,
                             .first = first.data(),
                             .second = second.data(),
                             .normalisation = cuda::normalisation_rule(stage.normalisation),
                             .optimiser = cuda::optimiser_rule(stage.optimiser, stage.after_step),
                             .stops_when_still = stops_when_still,
                             .earlier = earlier,
                             .state = state.pointers(),
                             .images_count = kImages,
                             .values_per_image = size},
                            nullptr);
  }

  Stage stage;
  int size;
  bool stops_when_still;
  int earlier;
  test::State state;
  std::vector<float> start;
  cuda::DeviceBuffer<float> parameters;
  cuda::DeviceBuffer<float> first;
  cuda::DeviceBuffer<float> second;
};

std::vector<Stage> stages() {
  using NormKind = GradientNormalisation::Kind;
  using Place = GradientNormalisation::EpsilonPlace;
  std::vector<Stage> all;
  for (const auto kind : {Optimiser::Kind::ascent, Optimiser::Kind::momentum, Optimiser::Kind::adam,
                          Optimiser::Kind::rmsprop}) {
    Stage stage;
    stage.optimiser.kind = kind;
    stage.optimiser.epsilon = 1e-3f;
    all.push_back(stage);
    stage.normalisation = {NormKind::none, 0.f, Place::added};
    stage.optimiser.weight_decay = 0.05f;
    all.push_back(stage);
    stage.normalisation = {NormKind::rms, 0.25f, Place::added};
    stage.after_step = {.decay = 0.02f, .clip = AfterStep::Interval{-0.75f, 0.5f}};
    all.push_back(stage);
    stage.normalisation = {NormKind::l2, 1000.f, Place::least_sum};
    stage.optimiser.weight_decay = 0.f;
    all.push_back(stage);
  }
  return all;
}

TEST_P(OptimiserStepTest, MatchesTheReference) {
  constexpr int kSteps = 4;
  for (const Stage& stage : stages()) {
    for (const int size : {7 * 5 * 3, 32 * 36}) {  // Scalars; several blocks of vectors.
      Batch batch(stage, size, false, 13);
      for (int iteration = 1; iteration <= kSteps; ++iteration) batch.step(iteration);
      const std::vector<float> found = test::download(batch.parameters);
      for (int image = 0; image < Batch::kImages; ++image) {
        SCOPED_TRACE(testing::Message() << "optimiser " << static_cast<int>(stage.optimiser.kind) << ", "
                                        << size << " values, image " << image);
        reference::Values expected = test::widened(test::image_of(batch.start, image, size));
        std::vector<reference::Values> state;
        for (int iteration = 1; iteration <= kSteps && image <= Batch::still; ++iteration) {
          const std::vector<float> gradients = Batch::gradients(size, iteration);
          reference::step(stage, iteration, test::widened(test::image_of(gradients, image, size)), state,
                          expected);
        }
        // Each step rounds about ten times, at values of up to 2.
        for (int at = 0; at < size; ++at)
          ASSERT_NEAR(test::image_of(found, image, size)[at], expected[at], 4e-6) << at;
      }
    }
  }
}

TEST_P(OptimiserStepTest, StopsWhatIsNotFiniteAndWhatIsStill) {
  for (const bool stops : {true, false}) {
    constexpr int kSize = 33;
    Batch batch({}, kSize, stops, 0);
    batch.step(1);
    const std::vector<AscentStatus> status = test::download(batch.state.status);
    const std::vector<int> steps = test::download(batch.state.steps);
    const std::vector<float> norms = test::download(batch.state.gradient_norms);
    for (int image = 0; image < Batch::kImages; ++image) {
      const bool climbing = image <= Batch::climbs_too || (image == Batch::still && !stops);
      EXPECT_EQ(status[image], climbing                                            ? AscentStatus::climbing
                               : image == Batch::still || image == Batch::was_dead ? AscentStatus::dead
                                                                                   : AscentStatus::nonfinite)
          << image;
      EXPECT_EQ(steps[image], Batch::kEarlierSteps + (climbing ? 1 : 0)) << image;
      if (image == Batch::was_dead) {
        EXPECT_EQ(norms[image], Batch::kEarlierNorm);
      } else if (image == Batch::overflows) {
        EXPECT_EQ(norms[image], kInfinity);
      } else {
        double sum = 0;
        const std::vector<float> gradients = Batch::gradients(kSize, 1);
        for (const double value : test::image_of(gradients, image, kSize)) sum += value * value;
        EXPECT_NEAR(norms[image], std::sqrt(sum), 1e-6 * std::sqrt(sum)) << image;
      }
    }
  }
}

// The two kernels differ in what they can do, not in what they compute.
TEST_P(OptimiserStepTest, AgreesWithNormaliseAndStepBitForBit) {
  for (const int size : {99, 1200}) {
    const Stage stage;
    Batch batch(stage, size, true, 0);
    const auto images = test::upload(batch.start);
    const auto gradients = test::upload(Batch::gradients(size, 1));
    const auto squares = test::poisoned<float>(Batch::kImages * kernels::square_parts(size));
    kernels::sum_of_squares(gradients.data(), squares.data(), Batch::kImages, size, nullptr);
    const test::State state(Batch::kImages);
    for (int i = 0; i < Batch::kImages; ++i) {
      test::store(state.status, i, AscentStatus::climbing);
      test::store(state.losses, i, 1.f);
      test::store(state.steps, i, 0);
      test::store(batch.state.status, i, AscentStatus::climbing);
      test::store(batch.state.losses, i, 1.f);
    }
    test::store(batch.state.iteration, 0, 1);
    kernels::normalise_and_step({.images = images.data(),
                                 .gradients = gradients.data(),
                                 .squares = squares.data(),
                                 .parts = kernels::square_parts(size),
                                 .step = stage.optimiser.step,
                                 .epsilon = stage.normalisation.epsilon,
                                 .state = state.pointers(),
                                 .images_count = Batch::kImages,
                                 .values_per_image = size},
                                nullptr);
    kernels::optimiser_step({.parameters = batch.parameters.data(),
                             .gradients = gradients.data(),
                             .squares = squares.data(),
                             .parts = kernels::square_parts(size),
                             .first = nullptr,
                             .second = nullptr,
                             .normalisation = cuda::normalisation_rule(stage.normalisation),
                             .optimiser = cuda::optimiser_rule(stage.optimiser, stage.after_step),
                             .stops_when_still = true,
                             .earlier = 0,
                             .state = batch.state.pointers(),
                             .images_count = Batch::kImages,
                             .values_per_image = size},
                            nullptr);
    EXPECT_EQ(test::download(batch.parameters), test::download(images));
    EXPECT_EQ(test::download(batch.state.status), test::download(state.status));
  }
}

}  // namespace
}  // namespace filterscope
