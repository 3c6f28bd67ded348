#include "host/ascent/ascent.h"

#include <gtest/gtest.h>

#include <cmath>

#include "tests/support/random_network.h"
#include "tests/support/reference.h"

namespace filterscope {
namespace {

TEST(Ascent, NoiseEqualsTheReferences) {
  for (const Extent extent : {Extent{1, 1}, Extent{7, 5}, Extent{96, 96}}) {
    std::vector<float> image(static_cast<std::size_t>(extent.positions()) * 3, NAN);
    const InitialImage recipe{.low = -0.5f, .high = 1.5f};
    initial_noise(recipe, 0x123456789abcULL, {3, 17}, image);
    EXPECT_EQ(image, reference::noise_image(recipe, 0x123456789abcULL, 3, 17, extent));
  }
}

TEST(Ascent, StepHasTheRecipesLength) {
  const Recipe recipe = find_recipe("seed");
  const std::vector<float> start = test::random_values(105, 1);
  const std::vector<float> gradient = test::random_values(105, 2, -1.f, 1.f);
  std::vector<float> image = start;
  normalise_and_step(recipe, sum_of_squares(gradient), gradient, image);
  double moved = 0;
  for (std::size_t i = 0; i < image.size(); ++i) moved += std::pow(double{image[i]} - start[i], 2);
  EXPECT_NEAR(std::sqrt(moved), 0.1, 1e-6);
  const reference::Map expected =
      reference::ascent_step(recipe, reference::Map({7, 5}, 3, start), reference::Map({7, 5}, 3, gradient));
  EXPECT_LT(test::max_relative_error(image, expected.values), 1e-6);
}

TEST(Ascent, TinyGradientIsDividedByEpsilon) {
  const Recipe recipe = find_recipe("seed");
  const std::vector<float> gradient(12, 1e-8f);  // norm 3.5e-8, below sqrt(1e-12)
  std::vector<float> image(12, 0.f);
  normalise_and_step(recipe, sum_of_squares(gradient), gradient, image);
  EXPECT_NEAR(image[0], 0.1 * 1e-8 / 1e-6, 1e-9);
}

TEST(Ascent, PictureEqualsTheReferencesForHalvesAndConstants) {
  const std::vector<float> image = test::random_values(300, 3, -2.f, 5.f);
  std::vector<std::uint8_t> picture(image.size(), 77);
  encode_picture(PictureMapping::min_max, image, picture);
  const std::vector<std::uint8_t> expected = reference::min_max_picture(std::span<const float>(image));
  for (std::size_t i = 0; i < picture.size(); ++i) EXPECT_NEAR(picture[i], expected[i], 1) << i;
  EXPECT_EQ(*std::ranges::min_element(picture), 0);
  EXPECT_EQ(*std::ranges::max_element(picture), 255);

  const std::vector<float> constant(30, 0.5f);
  std::vector<std::uint8_t> black(constant.size(), 77);
  encode_picture(PictureMapping::min_max, constant, black);
  EXPECT_EQ(black, std::vector<std::uint8_t>(30, 0));
}

}  // namespace
}  // namespace filterscope
