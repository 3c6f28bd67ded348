#include "kernels/image/penalties.h"

#include "images.h"

namespace filterscope {
namespace {

class PenaltiesTest : public test::DeviceTest {};
FILTERSCOPE_DEVICE_TEST_SUITE(PenaltiesTest);

constexpr int kImages = 3;

// Values of which some are equal to a neighbour and some are zero.
std::vector<float> images_with_ties(Extent extent) {
  std::vector<float> images = test::random_values(kImages * test::image_size(extent), 1, -3.f, 3.f);
  for (float& value : images) value = std::round(value * 2) / 2;
  return images;
}

// What the gradients lose; they start at zero.
void expect_penalty(const std::vector<Regulariser>& regularisers, const std::vector<float>& images,
                    Extent extent, const std::vector<float>& gradients, double tolerance) {
  const std::size_t size = test::image_size(extent);
  for (int i = 0; i < kImages; ++i) {
    std::vector<double> expected(size, 0.);
    for (const Regulariser& regulariser : regularisers) {
      const reference::Map slope = reference::penalty_gradient(regulariser, test::map_of(images, i, extent));
      for (std::size_t at = 0; at < size; ++at) expected[at] -= slope.values[at];
    }
    test::expect_close(test::image_of(gradients, i, size), expected, tolerance);
  }
}

TEST_P(PenaltiesTest, OfNeighboursAndMagnitudesMatchTheReference) {
  using Kind = Regulariser::Kind;
  const std::vector<std::vector<Regulariser>> cases{
      {{Kind::total_variation_l1, 0.75f}},
      {{Kind::total_variation_l2, 1.25f}},
      {{Kind::mean_magnitude, 2.f}},
      {{Kind::total_variation_l1, 0.5f}, {Kind::total_variation_l2, 0.3f}, {Kind::mean_magnitude, 0.7f}}};
  for (const Extent extent : test::kExtents) {
    const std::vector<float> images = images_with_ties(extent);
    const auto device_images = test::upload(images);
    for (const std::vector<Regulariser>& regularisers : cases) {
      const auto gradients = test::upload(std::vector<float>(images.size(), 0.f));
      kernels::PenaltyArguments arguments{.images = device_images.data(),
                                          .gradients = gradients.data(),
                                          .images_count = kImages,
                                          .height = extent.height,
                                          .width = extent.width};
      for (const Regulariser& regulariser : regularisers) {
        float& scale = regulariser.kind == Kind::total_variation_l1   ? arguments.variation_l1
                       : regulariser.kind == Kind::total_variation_l2 ? arguments.variation_l2
                                                                      : arguments.magnitude;
        scale = regulariser.weight / static_cast<float>(test::image_size(extent));
      }
      kernels::penalty_gradient(arguments, nullptr);
      // Four differences and three products.
      expect_penalty(regularisers, images, extent, test::download(gradients), 1e-6);
    }
  }
}

TEST_P(PenaltiesTest, OfNormsMatchTheReference) {
  for (const Extent extent : test::kExtents) {
    std::vector<float> images = images_with_ties(extent);
    // As large as grey levels; the last image is zero.
    for (float& value : images) value *= 85;
    std::ranges::fill(std::span(images).last(test::image_size(extent)), 0.f);
    const auto device_images = test::upload(images);
    for (const float power : {1.f, 2.f, 3.5f, 20.f}) {
      const Regulariser regulariser{Regulariser::Kind::lp_norm, 1.5f, power};
      const auto gradients = test::upload(std::vector<float>(images.size(), 0.f));
      const int values = static_cast<int>(test::image_size(extent));
      kernels::norm_penalty_gradient({.images = device_images.data(),
                                      .gradients = gradients.data(),
                                      .images_count = kImages,
                                      .values_per_image = values,
                                      .weight = regulariser.weight / static_cast<float>(values),
                                      .power = power},
                                     nullptr);
      expect_penalty({regulariser}, images, extent, test::download(gradients), 1e-6);
    }
  }
}

TEST_P(PenaltiesTest, AreSubtractedFromTheGradient) {
  const Extent extent{4, 5};
  const auto images = test::upload(std::vector<float>(test::image_size(extent), 2.f));
  const auto gradients = test::upload(std::vector<float>(test::image_size(extent), 0.5f));
  kernels::penalty_gradient({.images = images.data(),
                             .gradients = gradients.data(),
                             .images_count = 1,
                             .height = extent.height,
                             .width = extent.width,
                             .magnitude = 0.25f},
                            nullptr);
  EXPECT_EQ(test::download(gradients), std::vector<float>(test::image_size(extent), 0.25f));
  kernels::norm_penalty_gradient({.images = images.data(),
                                  .gradients = gradients.data(),
                                  .images_count = 1,
                                  .values_per_image = 60,
                                  .weight = 0.125f,
                                  .power = 1.f},
                                 nullptr);
  EXPECT_EQ(test::download(gradients), std::vector<float>(test::image_size(extent), 0.125f));
}

}  // namespace
}  // namespace filterscope
