#include <atomic>
#include <thread>

#include "host/ascent/operations/colour.h"
#include "host/ascent/operations/fourier.h"
#include "host/ascent/stage_program.h"
#include "operations.h"

namespace filterscope {
namespace {

using reference::Map;

// Transforms of up to 13 x 11 terms, a 3 x 3 matrix and an exponential, in fp32.
constexpr double kTolerance = 3e-6;

// sqrt(H * W) / 4 times numpy.fft.irfft2 of the coefficients 0 + 1i, 2 + 3i, 4 + 5i, ...
TEST(FourierImage, IsNumpysInverse) {
  const std::vector<std::pair<Extent, std::vector<double>>> cases{
      {{3, 4},
       {6.928203, -4.763140, 0.000000, 3.031089, -1.098076, 2.049038, 0.000000, -2.049038, -4.098076,
        0.549038, 0.000000, -0.549038}},
      {{2, 5},
       {4.269075, -4.119390, 1.169971, -1.411548, 2.463600, -2.371708, 1.459873, -0.344629, 0.344629,
        -1.459873}}};
  for (const auto& [extent, expected] : cases) {
    const FourierImage fourier(extent, 0.f);
    std::vector<float> coefficients(fourier.size());
    for (std::size_t i = 0; i < coefficients.size() / 3; ++i) coefficients[i] = static_cast<float>(i);
    std::vector<float> image = test::poison(test::image_size(extent));
    fourier.to_image(coefficients, image);
    for (std::size_t i = 0; i < expected.size(); ++i) {
      EXPECT_NEAR(image[i * 3], expected[i], 2e-6) << i;
      EXPECT_EQ(image[i * 3 + 1], 0.f);
    }
  }
}

TEST(FourierImage, LooksAtTheHermitianPart) {
  // In the first column, coefficients (1, 0) and (2, 0) of three rows are conjugates of each other.
  const Extent extent{3, 4};
  const FourierImage fourier(extent, 1.f);
  std::vector<float> both(fourier.size());
  std::vector<float> one(fourier.size());
  both[1 * 6] = both[2 * 6] = 1.f;
  both[1 * 6 + 1] = 0.5f;
  both[2 * 6 + 1] = -0.5f;
  one[1 * 6] = 2.f;
  one[1 * 6 + 1] = 1.f;
  std::vector<float> image_of_both(test::image_size(extent));
  std::vector<float> image_of_one(test::image_size(extent));
  fourier.to_image(both, image_of_both);
  fourier.to_image(one, image_of_one);
  test::expect_close(image_of_both, test::widened(image_of_one), kTolerance);
}

class ParameterisationTest : public testing::Test {
 protected:
  static StageProgram program(Extent extent, const Parameterisation& parameterisation) {
    Stage stage;
    stage.extent = extent;
    stage.parameterisation = parameterisation;
    return {stage, 0, 0};
  }
};

TEST_F(ParameterisationTest, ImagesAndGradientsMatchTheReference) {
  for (const Extent extent : test::kExtents) {
    for (const Parameterisation& parameterisation : test::parameterisations()) {
      SCOPED_TRACE(testing::PrintToString(extent));
      const StageProgram own = program(extent, parameterisation);
      const std::vector<float> parameters = test::random_values(own.parameters(), 3, -1.f);
      std::vector<float> image = test::poison(test::image_size(extent));
      own.to_image(parameters, image);
      const Map expected = reference::to_image(parameterisation, extent, test::widened(parameters));
      test::expect_close(image, expected.values, kTolerance);

      const std::vector<float> upstream = test::random_values(image.size(), 4, -1.f);
      std::vector<float> scratch = test::poison(image.size());
      std::vector<float> gradient = test::poison(own.parameters());
      own.to_parameters({}, 1, image, upstream, scratch, gradient);
      test::expect_close(gradient,
                         reference::parameters_gradient(parameterisation, expected, Map(extent, 3, upstream)),
                         kTolerance);
    }
  }
}

TEST_F(ParameterisationTest, ReferenceGradientsAreDifferences) {
  const Extent extent{5, 6};
  for (const Parameterisation& parameterisation : test::parameterisations()) {
    const std::size_t size = program(extent, parameterisation).parameters();
    const reference::Values parameters = test::widened(test::random_values(size, 3, -1.f));
    const Map weights = test::random_map(extent, 5, -1.f);
    const auto value = [&](const reference::Values& at) {
      return test::dot(reference::to_image(parameterisation, extent, at).values, weights.values);
    };
    const reference::Values gradient = reference::parameters_gradient(
        parameterisation, reference::to_image(parameterisation, extent, parameters), weights);
    for (std::size_t i = 0; i < size; i += 7) {
      constexpr double kStep = 1e-5;
      reference::Values above = parameters;
      reference::Values below = parameters;
      above[i] += kStep;
      below[i] -= kStep;
      EXPECT_NEAR(gradient[i], (value(above) - value(below)) / (2 * kStep), 1e-7) << i;
    }
  }
}

TEST_F(ParameterisationTest, FourierImagesAreLinearWithTheirAdjoint) {
  for (const Extent extent : test::kExtents) {
    const FourierImage fourier(extent, 1.f);
    const std::vector<float> u = test::random_values(fourier.size(), 6, -1.f);
    const std::vector<float> v = test::random_values(test::image_size(extent), 7, -1.f);
    std::vector<float> image = test::poison(v.size());
    std::vector<float> adjoint = test::poison(u.size());
    fourier.to_image(u, image);
    fourier.adjoint(v, adjoint);
    const double forward = test::dot(test::widened(image), test::widened(v));
    const double backward = test::dot(test::widened(u), test::widened(adjoint));
    EXPECT_NEAR(forward, backward,
                1e-5 * std::sqrt(static_cast<double>(u.size()) * static_cast<double>(v.size())));
  }
}

// At sizes with prime factors above 5, a transform needs memory of its own.
TEST_F(ParameterisationTest, FourierImagesServeSeveralThreads) {
  const Extent extent{77, 91};
  const FourierImage fourier(extent, 1.f);
  constexpr int kThreads = 4;
  struct Work {
    std::vector<float> coefficients, image, gradient, back;
  };
  const auto work = [&](int number) {
    Work result;
    result.coefficients = test::random_values(fourier.size(), 20 + number, -1.f);
    result.image = test::poison(test::image_size(extent));
    result.gradient = test::poison(fourier.size());
    result.back = test::poison(fourier.size());
    fourier.to_image(result.coefficients, result.image);
    fourier.adjoint(result.image, result.gradient);
    fourier.from_image(result.image, result.back);
    return result;
  };
  std::vector<Work> alone(kThreads);
  for (int i = 0; i < kThreads; ++i) alone[i] = work(i);
  std::atomic<int> different = 0;
  std::vector<std::jthread> threads;
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&, i] {
      for (int repeat = 0; repeat < 20; ++repeat) {
        const Work found = work(i);
        const bool same = found.image == alone[i].image && found.gradient == alone[i].gradient &&
                          found.back == alone[i].back;
        different += same ? 0 : 1;
      }
    });
  }
  threads.clear();
  EXPECT_EQ(different, 0);
}

TEST_F(ParameterisationTest, GivenImagesComeBack) {
  for (const Extent extent : test::kExtents) {
    for (const Parameterisation& parameterisation : test::parameterisations()) {
      const StageProgram own = program(extent, parameterisation);
      std::vector<float> image = test::random_values(test::image_size(extent), 8, 0.1f);
      for (float& value : image) value *= 0.9f;
      std::vector<float> parameters = test::poison(own.parameters());
      own.start_from(image, parameters);
      std::vector<float> back = test::poison(image.size());
      own.to_image(parameters, back);
      test::expect_close(back, test::widened(image), 2e-5);
      test::expect_close(parameters, reference::parameters_of(parameterisation, Map(extent, 3, image)), 2e-5);
    }
  }
}

TEST_F(ParameterisationTest, SigmoidsOfGivenImagesKeepOffTheirEnds) {
  std::vector<float> values{0.f, 1.f, -3.f, 7.f, 0.5f, 0.25f};
  const Parameterisation sigmoid{.range = Parameterisation::Range::sigmoid};
  from_image(sigmoid, values);
  for (const float value : values) EXPECT_LT(std::abs(value), 7.f);
  to_image(sigmoid, values);
  const std::vector<double> expected{0x1p-10, 1 - 0x1p-10, 0x1p-10, 1 - 0x1p-10, 0.5, 0.25};
  test::expect_close(values, expected, 1e-6);
}

}  // namespace
}  // namespace filterscope
