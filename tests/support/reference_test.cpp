#include "tests/support/reference.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <string>
#include <tuple>

#include "kernels/common/philox.h"
#include "tests/support/random_network.h"

namespace filterscope::reference {
namespace {

using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::SizeIs;

Map map_of(int height, int width, int channels, std::vector<double> values) {
  Map map({height, width}, channels);
  map.values = std::move(values);
  return map;
}

Map random_map(Extent extent, int channels, std::uint64_t seed, float low = 0.f, float high = 1.f) {
  const std::size_t count = static_cast<std::size_t>(extent.positions()) * static_cast<std::size_t>(channels);
  return {extent, channels, test::random_values(count, seed, low, high)};
}

double dot(const Map& a, const Map& b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.values.size(); ++i) sum += a.values[i] * b.values[i];
  return sum;
}

TEST(ReferenceConvolve, MatchesAHandComputedCase) {
  // 2x3 image 1 2 3 / 4 5 6, kernel 1 2 3 / 4 5 6 / 7 8 9, bias 0.5.
  const Map input = map_of(2, 3, 1, {1, 2, 3, 4, 5, 6});
  const std::vector<float> kernel{1, 2, 3, 4, 5, 6, 7, 8, 9};
  const Map output = convolve(input, kernel, std::vector<float>{0.5f});
  EXPECT_THAT(output.values, ElementsAre(94.5, 154.5, 106.5, 58.5, 91.5, 58.5));
}

TEST(ReferenceConvolve, ReadsTheKernelAsHwio) {
  // Only tap (0, 2), input channel 1, output channel 2 of a [3, 3, 2, 3] kernel is set: the neighbour up and
  // to the right.
  std::vector<float> kernel(3 * 3 * 2 * 3, 0.f);
  kernel[((0 * 3 + 2) * 2 + 1) * 3 + 2] = 10.f;
  const Map input = map_of(2, 2, 2, {1, 2, 3, 4, 5, 6, 7, 8});
  const Map output = convolve(input, kernel, std::vector<float>{0, 0, 0});
  EXPECT_THAT(output.values, ElementsAre(0, 0, 0, 0, 0, 0, 0, 0, 40, 0, 0, 0));
}

TEST(ReferenceConvolve, WorksOnASinglePosition) {
  std::vector<float> kernel(9, 100.f);
  kernel[4] = 3.f;
  const Map output = convolve(map_of(1, 1, 1, {2}), kernel, std::vector<float>{1});
  EXPECT_THAT(output.values, ElementsAre(7));
}

// <A x, y> = <x, A' y> for every x and y determines the input gradient A' completely.
TEST(ReferenceConvolve, InputGradientIsTheAdjoint) {
  for (const Extent extent : {Extent{5, 7}, Extent{1, 4}, Extent{9, 2}}) {
    const Map x = random_map(extent, 3, 1, -1, 1);
    const Map y = random_map(extent, 5, 2, -1, 1);
    const std::vector<float> kernel = test::random_values(9 * 3 * 5, 3, -1, 1);
    const std::vector<float> no_bias(5, 0.f);
    EXPECT_NEAR(dot(convolve(x, kernel, no_bias), y), dot(x, convolve_input_gradient(y, kernel, 3)), 1e-12);
  }
}

TEST(ReferenceRelu, GradientAtExactZeroIsZero) {
  const Map input = map_of(1, 5, 1, {-1, -0.0, 0, 1e-30, 2});
  const Map output = relu(input);
  EXPECT_THAT(output.values, ElementsAre(0, 0, 0, 1e-30, 2));
  EXPECT_THAT(relu_gradient(map_of(1, 5, 1, {1, 2, 3, 4, 5}), output).values, ElementsAre(0, 0, 0, 4, 5));
}

TEST(ReferenceMaxPool, TakesTheFirstOfEqualMaxima) {
  // One 2x2 window for each set of places that hold the maximum; row-major places 0 1 / 2 3.
  for (unsigned places = 1; places < 16; ++places) {
    Map window({2, 2}, 1);
    for (std::size_t i = 0; i < 4; ++i) window.values[i] = (places >> i & 1) != 0 ? 5 : -1;
    EXPECT_THAT(max_pool(window).values, ElementsAre(5));

    const Map gradient = max_pool_gradient(map_of(1, 1, 1, {7}), window);
    std::vector<double> expected(4, 0);
    expected[static_cast<std::size_t>(std::countr_zero(places))] = 7;
    EXPECT_EQ(gradient.values, expected) << "places " << places;
  }
}

TEST(ReferenceMaxPool, DropsAnOddLastRowAndColumn) {
  const Map input = map_of(3, 5, 1, {1, 2, 3, 4, 9, 5, 6, 8, 7, 9, 9, 9, 9, 9, 9});
  EXPECT_THAT(max_pool(input).values, ElementsAre(6, 8));
  EXPECT_THAT(max_pool_gradient(map_of(1, 2, 1, {1, 2}), input).values,
              ElementsAre(0, 0, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 0, 0, 0));
}

TEST(ReferenceMaxPool, KeepsChannelsApart) {
  const Map input = map_of(2, 2, 2, {1, 8, 2, 7, 3, 6, 4, 5});
  EXPECT_THAT(max_pool(input).values, ElementsAre(4, 8));
  EXPECT_THAT(max_pool_gradient(map_of(1, 1, 2, {1, 2}), input).values, ElementsAre(0, 2, 0, 0, 0, 0, 1, 0));
}

TEST(ReferenceMapping, SwapsScalesAndShifts) {
  const Map image = map_of(1, 1, 3, {0.5, 0.25, 1});
  EXPECT_EQ(apply_mapping(identity_mapping(), image).values, image.values);
  EXPECT_THAT(apply_mapping(keras_mapping(), image).values,
              ElementsAre(255 - double{103.939f}, 63.75 - double{116.779f}, 127.5 - double{123.68f}));
  EXPECT_THAT(mapping_gradient(keras_mapping(), map_of(1, 1, 3, {1, 2, 3})).values,
              ElementsAre(765, 510, 255));
}

std::vector<InputMapping> mappings() {
  return {identity_mapping(), keras_mapping(), torchvision_mapping(),
          InputMapping{.name = "red twice", .source = {0, 0, 2}, .scale = {1, -2, 3}, .offset = {0, 1, -1}}};
}

class CentralDifferences : public ::testing::TestWithParam<std::tuple<Extent, InputMapping>> {};

// Between two kinks, the loss is linear in one value of the image, so a central difference over an interval
// without a kink is exact except for rounding.
TEST_P(CentralDifferences, AgreeWithTheGradient) {
  const auto& [extent, mapping] = GetParam();
  const Network network = test::small_network();
  const Weights weights = test::random_weights(network, 4);
  const double delta = 1e-6;
  for (int layer = 0; layer < network.layer_count(); ++layer) {
    // Takes the first filter that is not dead: many are where the upper maps have one position, and their
    // loss has no gradient.
    const int filters = network.convolutions[layer].out_channels;
    Map image = random_map(extent, 3, 5);
    int filter = 0;
    Gradient analytic = loss_and_gradient(network, weights, mapping, layer, filter, image, false);
    while (analytic.norm() == 0 && ++filter < filters) {
      analytic = loss_and_gradient(network, weights, mapping, layer, filter, image, false);
    }
    ASSERT_LT(filter, filters) << "every filter of layer " << layer << " is dead; nothing would be compared";

    std::vector<double> numeric;
    for (double& value : image.values) {
      const double centre = value;
      double loss[2];
      for (int side = 0; side < 2; ++side) {
        value = side == 0 ? centre - delta : centre + delta;
        const Map target = activation(network, weights, mapping, layer, image);
        double sum = 0;
        for (int y = 0; y < target.height; ++y) {
          for (int x = 0; x < target.width; ++x) sum += target.at(y, x, filter);
        }
        loss[side] = sum / static_cast<double>(target.extent().positions());
      }
      value = centre;
      numeric.push_back((loss[1] - loss[0]) / (2 * delta));
    }
    EXPECT_LT(test::max_relative_error(analytic.gradient.values, numeric), 1e-6)
        << network.convolutions[layer].name << ", filter " << filter;
  }
}

std::string case_name(const ::testing::TestParamInfo<CentralDifferences::ParamType>& param_info) {
  const auto& [extent, mapping] = param_info.param;
  std::string name = std::to_string(extent.height) + "x" + std::to_string(extent.width) + "_" + mapping.name;
  std::ranges::replace_if(
      name, [](char c) { return c == '-' || c == ' '; }, '_');
  return name;
}

INSTANTIATE_TEST_SUITE_P(OddSizes, CentralDifferences,
                         ::testing::Combine(::testing::Values(Extent{5, 7}, Extent{9, 11}, Extent{12, 4}),
                                            ::testing::ValuesIn(mappings())),
                         case_name);

TEST(ReferenceGradient, IsZeroForADeadFilterThatIsNotRescued) {
  const Network network = test::small_network();
  Weights weights = test::random_weights(network, 4);
  weights.layers[3]->bias[2] = -1000.f;
  const Map image = random_map({9, 9}, 3, 5);
  const Gradient dead = loss_and_gradient(network, weights, identity_mapping(), 3, 2, image, false);
  EXPECT_EQ(dead.loss, 0);
  EXPECT_EQ(dead.objective, 0);
  EXPECT_EQ(dead.norm(), 0);
  EXPECT_THAT(dead.masks.filter, Each(0));
  EXPECT_EQ(ascent_step(find_recipe("seed"), image, dead.gradient).values, image.values);
}

// Before the ReLU, a bias only shifts the mean: a filter that its bias keeps dead has the gradient of the
// same filter with a bias that activates every position, and their means differ by the difference of the
// biases. Central differences of the objective agree with it.
TEST(ReferenceGradient, OfARescuedFilterIsThatOfTheMeanBeforeItsReLU) {
  const Network network = test::small_network();
  Weights weights = test::random_weights(network, 4);
  for (const auto& [layer, filter] : {std::pair{0, 1}, {2, 3}, {3, 2}, {5, 0}}) {
    Map image = random_map({9, 11}, 3, 5);
    const auto with_bias = [&](float bias, bool rescue = true) {
      weights.layers[layer]->bias[filter] = bias;
      return loss_and_gradient(network, weights, keras_mapping(), layer, filter, image, rescue);
    };
    const Gradient active = with_bias(1000.f, false);
    const Gradient rescued = with_bias(-1000.f);
    EXPECT_EQ(rescued.loss, 0);
    EXPECT_NEAR(rescued.objective, active.objective - 2000, 1e-9);
    EXPECT_GT(rescued.norm(), 0);
    EXPECT_EQ(rescued.gradient.values, active.gradient.values);
    EXPECT_THAT(rescued.masks.filter, Each(1));
    EXPECT_EQ(
        gradient_through(rescued.masks, network, weights, keras_mapping(), layer, filter, image.extent())
            .values,
        rescued.gradient.values);
    std::vector<double> numeric;
    constexpr double kDelta = 1e-6;
    for (double& value : image.values) {
      const double centre = value;
      value = centre + kDelta;
      const double above = with_bias(-1000.f).objective;
      value = centre - kDelta;
      numeric.push_back((above - with_bias(-1000.f).objective) / (2 * kDelta));
      value = centre;
    }
    EXPECT_LT(test::max_relative_error(rescued.gradient.values, numeric), 1e-6) << layer;
  }
}

TEST(ReferenceGradient, IsRescuedOnlyWhereNoPositionIsAboveZero) {
  const Network network = test::small_network();
  const Weights weights = test::random_weights(network, 4);
  const Map image = random_map({9, 11}, 3, 5);
  const Gradient living = loss_and_gradient(network, weights, identity_mapping(), 2, 1, image);
  EXPECT_EQ(living.objective, living.loss);
  EXPECT_EQ(living.gradient.values,
            loss_and_gradient(network, weights, identity_mapping(), 2, 1, image, false).gradient.values);
}

TEST(ReferenceGradient, PassesTheGatesThatItSays) {
  const Network network = test::small_network();
  const Weights weights = test::random_weights(network, 4);
  const Map image = random_map({9, 11}, 3, 5);
  const Gradient whole = loss_and_gradient(network, weights, keras_mapping(), 3, 2, image);
  ASSERT_GT(whole.norm(), 0);
  // The third layer has no pool; the second one passes at most one value per window.
  EXPECT_EQ(whole.masks.layers.at(2).size(), 4u * 5 * 6);
  EXPECT_THAT(whole.masks.layers.at(1), SizeIs(9 * 11 * 7));
  EXPECT_LE(std::ranges::count(whole.masks.layers.at(1), 1), 4 * 5 * 7);
  const auto through = [&](const GradientMasks& masks) {
    return gradient_through(masks, network, weights, keras_mapping(), 3, 2, image.extent()).values;
  };
  EXPECT_EQ(through(whole.masks), whole.gradient.values);
  // Inactive mask bits: another gradient.
  for (const std::size_t layer : {1u, 2u}) {
    GradientMasks other = whole.masks;
    std::vector<std::uint8_t>& masks = other.layers.at(layer);
    for (std::size_t i = 0; i < masks.size() / 2; ++i) masks[i] = 0;
    EXPECT_NE(through(other), whole.gradient.values);
  }
  GradientMasks closed = whole.masks;
  closed.filter.assign(closed.filter.size(), 0);
  EXPECT_THAT(through(closed), Each(0));
}

// A bias of exactly minus the convolution's sum puts every position on the kink, where the gradient must be
// zero.
TEST(ReferenceGradient, IsZeroOnTheKink) {
  const Network network = test::make_network({{1}});
  Weights weights = test::random_weights(network, 1);
  weights.layers[0]->kernel.assign(27, 0.f);
  weights.layers[0]->kernel[4 * 3] = 2.f;  // The centre of channel 0.
  weights.layers[0]->bias = {-1.f};
  Map image({3, 3}, 3);
  for (double& value : image.values) value = 0.5;
  EXPECT_EQ(loss_and_gradient(network, weights, identity_mapping(), 0, 0, image, false).norm(), 0);
}

TEST(ReferenceStep, HasTheLengthOfTheRecipeOverTheWholeImage) {
  const Map image = random_map({5, 7}, 3, 1);
  const Map gradient = random_map({5, 7}, 3, 2, -1, 1);
  const Map next = ascent_step(find_recipe("seed"), image, gradient);
  double squares = 0;
  for (std::size_t i = 0; i < image.values.size(); ++i) {
    const double moved = next.values[i] - image.values[i];
    EXPECT_GT(moved * gradient.values[i], 0);
    squares += moved * moved;
  }
  EXPECT_NEAR(std::sqrt(squares), double{0.1f}, 1e-14);
}

TEST(ReferenceStep, DividesTinyGradientsByTheFloor) {
  Map gradient({1, 1}, 3);
  gradient.values = {1e-8, 0, 0};  // Squares to 1e-16, below the floor of 1e-12.
  const Map next = ascent_step(find_recipe("seed"), Map({1, 1}, 3), gradient);
  EXPECT_NEAR(next.values[0], 0.1 * 1e-8 / 1e-6, 1e-9);
}

TEST(ReferenceAscent, ReportsTheLossBeforeEachStep) {
  const Network network = test::small_network();
  const Weights weights = test::random_weights(network, 4);
  const Recipe& recipe = find_recipe("seed");
  const Map image = random_map({9, 11}, 3, 5);
  const Ascent ascent = ascend(network, weights, recipe, 2, 1, image, 3);
  ASSERT_EQ(ascent.losses.size(), 3u);

  const auto at = [&](const Map& x) {
    return loss_and_gradient(network, weights, identity_mapping(), 2, 1, x);
  };
  const Gradient first = at(image);
  const Map second_image = ascent_step(recipe, image, first.gradient);
  const Gradient second = at(second_image);
  EXPECT_EQ(ascent.losses[0], first.loss);
  EXPECT_EQ(ascent.losses[1], second.loss);
  EXPECT_EQ(ascent.final_loss, at(ascent.image).loss);
  EXPECT_GT(second.loss, first.loss);
  EXPECT_GT(ascent.final_loss, ascent.losses[2]);
}

TEST(ReferenceNoise, IsTheFilterStreamWordByWord) {
  const Start unit;
  const std::vector<float> image = noise_image(unit, 7, 3, 11, {5, 3});
  ASSERT_EQ(image.size(), 45u);
  const auto word = [](std::uint32_t block, std::size_t i) {
    return Philox::generate({{block, 11, 3, 0}}, {{7, 0}})[i];
  };
  EXPECT_EQ(image[0], to_unit_float(word(0, 0)));
  EXPECT_EQ(image[6], to_unit_float(word(1, 2)));
  EXPECT_EQ(image[44], to_unit_float(word(11, 0)));
}

TEST(ReferenceNoise, DependsOnEverythingThatNamesTheFilterAndNotOnTheSize) {
  const Start unit;
  const std::vector<float> image = noise_image(unit, 7, 3, 11, {4, 4});
  EXPECT_NE(image, noise_image(unit, 8, 3, 11, {4, 4}));
  EXPECT_NE(image, noise_image(unit, 7 + (std::uint64_t{1} << 32), 3, 11, {4, 4}));
  EXPECT_NE(image, noise_image(unit, 7, 4, 11, {4, 4}));
  EXPECT_NE(image, noise_image(unit, 7, 3, 12, {4, 4}));
  EXPECT_NE(noise_image(unit, 7, 3, 11, {4, 4}), noise_image(unit, 7, 11, 3, {4, 4}));
  const std::vector<float> larger = noise_image(unit, 7, 3, 11, {4, 8});
  EXPECT_TRUE(std::equal(image.begin(), image.end(), larger.begin()));
}

TEST(ReferenceNoise, CoversTheRange) {
  const Start shifted{
      .kind = Start::Kind::uniform, .low = -2.f, .high = 6.f, .mean = 0, .deviation = 0, .value = 0};
  const std::vector<float> image = noise_image(shifted, 1, 0, 0, {64, 64});
  const auto [low, high] = std::ranges::minmax(image);
  EXPECT_GE(low, -2.f);
  EXPECT_LT(low, -1.99f);
  EXPECT_GT(high, 5.99f);
  EXPECT_LT(high, 6.f);
}

TEST(ReferencePicture, MapsMinimumAndMaximumToBlackAndWhite) {
  const std::vector<double> image{-3, 7, 2, -3 + 10 * 0.49 / 255, -3 + 10 * 0.51 / 255, 1};
  EXPECT_THAT(min_max_picture(image), ElementsAre(0, 255, 128, 0, 1, 102));  // 2 is 127.5: halves round up.
  EXPECT_THAT(min_max_picture(std::vector<float>{0, 255, 1.5f, 2.5f, 2.25f}), ElementsAre(0, 255, 2, 3, 2));
}

TEST(ReferencePicture, IsBlackForAConstantImage) {
  EXPECT_THAT(min_max_picture(std::vector<double>(12, 0.25)), Each(0));
}

TEST(RelativeError, MeasuresAgainstTheReference) {
  const std::vector<float> actual{1, 2, 3};
  const std::vector<double> expected{1, 2, 4};
  EXPECT_DOUBLE_EQ(test::max_relative_error(actual, expected), 0.25);
  EXPECT_DOUBLE_EQ(test::l2_relative_error(actual, expected), 1 / std::sqrt(21.0));
  EXPECT_EQ(test::max_relative_error(expected, expected), 0);
}

TEST(RelativeError, NeverPassesWhatCannotBeCompared) {
  const std::vector<float> nan{1, std::nanf("")};
  const std::vector<double> expected{1, 2};
  EXPECT_FALSE(test::max_relative_error(nan, expected) < 1e30);
  EXPECT_FALSE(test::l2_relative_error(nan, expected) < 1e30);
  EXPECT_FALSE(test::max_relative_error(std::vector<float>{1}, expected) < 1e30);
  EXPECT_FALSE(test::max_relative_error(std::vector<float>{1, 1}, std::vector<float>{0, 0}) < 1e30);
}

}  // namespace
}  // namespace filterscope::reference
