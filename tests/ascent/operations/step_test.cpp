#include "host/ascent/operations/optimiser.h"
#include "host/ascent/operations/regularisers.h"
#include "host/ascent/operations/start.h"
#include "host/ascent/stage_program.h"
#include "kernels/common/philox.h"
#include "operations.h"

namespace filterscope {
namespace {

using reference::Map;

std::vector<Regulariser> regularisers() {
  return {{.kind = Regulariser::Kind::total_variation_l1, .weight = 0.7f},
          {.kind = Regulariser::Kind::total_variation_l2, .weight = 1.5f},
          {.kind = Regulariser::Kind::lp_norm, .weight = 2.f, .power = 6.f},
          {.kind = Regulariser::Kind::lp_norm, .weight = 1.f, .power = 1.5f},
          {.kind = Regulariser::Kind::mean_magnitude, .weight = 0.3f}};
}

TEST(Regularisers, MatchTheReference) {
  for (const Extent extent : test::kExtents) {
    for (const Regulariser& regulariser : regularisers()) {
      const Map image = test::random_map(extent, 1, -1.f);
      const std::vector<float> before = test::random_values(image.values.size(), 2, -1.f);
      std::vector<float> gradient = before;
      add_penalty_gradient(regulariser, extent, reference::to_float(image), gradient);
      std::vector<double> expected = reference::penalty_gradient(regulariser, image).values;
      for (std::size_t i = 0; i < expected.size(); ++i) expected[i] = before[i] - expected[i];
      test::expect_close(gradient, expected, 1e-6);
    }
  }
}

TEST(Regularisers, ReferencesAreDifferences) {
  const Extent extent{5, 4};
  for (const Regulariser& regulariser : regularisers()) {
    const Map image = test::random_map(extent, 3, -1.f);
    const Map gradient = reference::penalty_gradient(regulariser, image);
    for (std::size_t i = 0; i < image.values.size(); ++i) {
      constexpr double kStep = 1e-7;  // Small against the distances of the values from each other and from 0.
      Map above = image;
      Map below = image;
      above.values[i] += kStep;
      below.values[i] -= kStep;
      EXPECT_NEAR(
          gradient.values[i],
          (reference::penalty(regulariser, above) - reference::penalty(regulariser, below)) / (2 * kStep),
          1e-7);
    }
  }
}

TEST(Regularisers, HaveNoSlopeWhereTheyHaveAKink) {
  const Extent extent{3, 3};
  for (const Regulariser& regulariser : regularisers()) {
    std::vector<float> gradient(27, 1.f);
    add_penalty_gradient(regulariser, extent, std::vector<float>(27), gradient);
    EXPECT_EQ(gradient, std::vector<float>(27, 1.f));
  }
}

std::vector<Optimiser> optimisers() {
  return {{.kind = Optimiser::Kind::ascent, .step = 0.3f},
          {.kind = Optimiser::Kind::ascent, .step = 0.3f, .weight_decay = 0.1f},
          {.kind = Optimiser::Kind::momentum, .step = 0.2f, .momentum = 0.7f, .weight_decay = 0.05f},
          {.kind = Optimiser::Kind::adam, .step = 0.05f},
          {.kind = Optimiser::Kind::adam, .step = 0.1f, .beta1 = 0.8f, .beta2 = 0.95f, .weight_decay = 0.01f},
          {.kind = Optimiser::Kind::rmsprop, .step = 1.f, .rho = 0.999f, .epsilon = 1e-7f},
          {.kind = Optimiser::Kind::rmsprop, .step = 0.1f, .weight_decay = 0.1f}};
}

std::vector<GradientNormalisation> normalisations() {
  using Kind = GradientNormalisation::Kind;
  using Place = GradientNormalisation::EpsilonPlace;
  return {{.kind = Kind::none},
          {.kind = Kind::l2, .epsilon = 1e-12f, .epsilon_place = Place::least_sum},
          {.kind = Kind::l2, .epsilon = 1e6f, .epsilon_place = Place::least_sum},
          {.kind = Kind::l2, .epsilon = 0.5f, .epsilon_place = Place::added},
          {.kind = Kind::rms, .epsilon = 1e-5f, .epsilon_place = Place::added},
          {.kind = Kind::rms, .epsilon = 4.f, .epsilon_place = Place::least_sum}};
}

std::vector<AfterStep> after_steps() {
  return {
      {},
      {.decay = 0.1f},
      {.decay = 0.f, .clip = AfterStep::Interval{-0.4f, 0.6f}},
      {.decay = 0.02f, .clip = AfterStep::Interval{-0.9f, 0.9f}, .blur_every = 2, .blur_deviation = 0.8f}};
}

// A few roundings of each of six steps; Adam and RMSprop divide by a root that is itself rounded.
constexpr double kTolerance = 3e-6;

TEST(Steps, MatchTheReference) {
  for (const Extent extent : test::kExtents) {
    for (const Optimiser& optimiser : optimisers()) {
      for (const GradientNormalisation& normalisation : normalisations()) {
        for (const AfterStep& after : after_steps()) {
          Stage stage;
          stage.extent = extent;
          stage.optimiser = optimiser;
          stage.normalisation = normalisation;
          stage.after_step = after;
          const StageProgram program(stage, 0, 0);
          std::vector<float> parameters = test::random_values(program.parameters(), 4, -1.f);
          std::vector<float> state(program.state());
          std::vector<float> scratch = test::poison(program.image_size());
          reference::Values expected = test::widened(parameters);
          std::vector<reference::Values> expected_state;
          for (int iteration = 1; iteration <= 6; ++iteration) {
            const std::vector<float> gradient = test::random_values(parameters.size(), 10 + iteration, -1.f);
            program.step(iteration, sum_of_squares(gradient), gradient, state, parameters, scratch);
            reference::step(stage, iteration, test::widened(gradient), expected_state, expected);
          }
          test::expect_close(parameters, expected, kTolerance);
        }
      }
    }
  }
}

TEST(Steps, AGradientOfZeroIsNoDivisionByZero) {
  for (const GradientNormalisation& normalisation : normalisations()) {
    Stage stage;
    stage.extent = {2, 2};
    stage.normalisation = normalisation;
    stage.normalisation.epsilon = 0;
    const StageProgram program(stage, 0, 0);
    std::vector<float> parameters(12, 0.25f);
    program.step(1, 0, std::vector<float>(12), {}, parameters, {});
    EXPECT_EQ(parameters, std::vector<float>(12, 0.25f));
  }
}

// The recipe `seed` must not change a bit: one division in double, one rounding, one product and one sum.
TEST(Steps, OfTheSeedRecipeKeepTheirBits) {
  const Stage stage = find_recipe("seed").first();
  const StageProgram program(stage, 0, 0);
  std::vector<float> image = test::random_values(program.parameters(), 5);
  const std::vector<float> gradient = test::random_values(program.parameters(), 6, -1.f);
  std::vector<float> expected = image;
  const double squares = sum_of_squares(gradient);
  const float factor = static_cast<float>(0.1f / std::sqrt(std::max(squares, double{1e-12f})));
  for (std::size_t i = 0; i < image.size(); ++i) {
    volatile const float product = factor * gradient[i];
    expected[i] += product;
  }
  program.step(1, squares, gradient, {}, image, {});
  EXPECT_EQ(image, expected);
}

TEST(Start, UniformValuesAreTheFiltersWords) {
  const Start start{.kind = Start::Kind::uniform, .low = -2.f, .high = 6.f};
  std::vector<float> values = test::poison(11);
  draw_start(start, 7, {3, 5}, values);
  for (std::size_t i = 0; i < values.size(); ++i) {
    const auto word =
        random_block(7, RandomStream::initial_image, 3, 5, static_cast<std::uint32_t>(i / 4))[i % 4];
    EXPECT_EQ(values[i], -2.f + 8.f * to_unit_float(word));
  }
}

// In fp32, the logarithm and the angle are off by 2^-24 of themselves, and the angle is up to 2 pi.
TEST(Start, ValuesMatchTheReference) {
  for (const Start& start :
       {Start{.kind = Start::Kind::uniform, .low = -0.5f, .high = 1.5f},
        Start{.kind = Start::Kind::gaussian, .low = 0, .high = 0, .mean = 0.25f, .deviation = 2.f}}) {
    for (const std::size_t count : {1, 6, 7, 3 * 77 * 91}) {
      std::vector<float> values = test::poison(count);
      draw_start(start, 0x123456789abcULL, {12, 511}, values);
      test::expect_close(values, reference::start_values(start, 0x123456789abcULL, {12, 511}, count), 1e-6);
    }
  }
}

TEST(Start, GaussianValuesHaveTheirMoments) {
  const Start start{.kind = Start::Kind::gaussian, .mean = 0.25f, .deviation = 2.f};
  constexpr std::size_t kCount = 40001;  // The last pair is cut.
  std::vector<float> values = test::poison(kCount);
  draw_start(start, 1, {0, 1}, values);
  double sum = 0;
  double squares = 0;
  double fourths = 0;
  for (const float value : values) {
    const double z = (value - 0.25) / 2;
    sum += z;
    squares += z * z;
    fourths += z * z * z * z;
  }
  // Five standard errors.
  EXPECT_NEAR(sum / kCount, 0, 5 / std::sqrt(double{kCount}));
  EXPECT_NEAR(squares / kCount, 1, 5 * std::sqrt(2. / kCount));
  EXPECT_NEAR(fourths / kCount, 3, 5 * std::sqrt(96. / kCount));
  std::vector<float> shorter = test::poison(10);
  draw_start(start, 1, {0, 1}, shorter);
  EXPECT_TRUE(std::equal(shorter.begin(), shorter.end(), values.begin()));
  std::vector<float> other(10);
  draw_start(start, 1, {0, 2}, other);
  EXPECT_NE(other, shorter);
}

TEST(Start, ConstantValuesAreConstant) {
  std::vector<float> values = test::poison(5);
  draw_start({.kind = Start::Kind::constant, .value = 0.5f}, 1, {0, 0}, values);
  EXPECT_EQ(values, std::vector<float>(5, 0.5f));
}

}  // namespace
}  // namespace filterscope
