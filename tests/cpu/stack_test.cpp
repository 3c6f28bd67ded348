// One loss and gradient of every layer, of odd little networks and of VGG16, against the double-precision
// reference, which computes the target layer whole: so this also holds the filter head against the full
// convolution.

#include "host/cpu/stack.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include "host/ascent.h"
#include "tests/support/random_network.h"
#include "tests/support/reference.h"

namespace filterscope::cpu {
namespace {

constexpr double kDirectTolerance = 1e-5;
constexpr double kWinogradTolerance = 5e-4;

struct Result {
  std::vector<double> losses;
  std::vector<float> gradients;
};

Result run(const Network& network, const Weights& weights, const InputMapping& mapping, PlanRule rule,
           int layer, const std::vector<int>& filters, const std::vector<float>& images, Extent extent) {
  Planner planner(network, weights, extent, rule);
  const int count = static_cast<int>(filters.size());
  Stack stack(network, weights, mapping, planner, planner.make(layer, count), filters);
  Result result{std::vector<double>(count, -1), std::vector<float>(images.size(), NAN)};
  stack.loss_and_gradient(images.data(), result.losses.data(), result.gradients.data());
  // Once more: nothing of the first run may leak into the second, and the loss alone is the same loss.
  Result again{std::vector<double>(count, -1), std::vector<float>(images.size(), NAN)};
  stack.loss_and_gradient(images.data(), again.losses.data(), again.gradients.data());
  EXPECT_EQ(result.gradients, again.gradients);
  stack.loss(images.data(), again.losses.data());
  EXPECT_EQ(result.losses, again.losses);
  return result;
}

// A random image at which the gradient is a smooth function: where a ReLU or a pool is nearly tied, rounding
// decides, and no two arithmetics agree. The reference itself tells: its gradient must not change when the
// image does by `nudge`.
std::vector<float> smooth_image(const Network& network, const Weights& weights, const InputMapping& mapping,
                                int layer, int filter, Extent extent, float nudge, double tolerance,
                                reference::Gradient& expected) {
  const std::size_t size = static_cast<std::size_t>(extent.positions()) * 3;
  for (std::uint64_t seed = 0; seed < 30; ++seed) {
    const std::vector<float> image = test::random_values(size, 100 * layer + seed);
    expected = reference::loss_and_gradient(network, weights, mapping, layer, filter,
                                            reference::Map(extent, 3, image));
    bool smooth = true;
    for (const std::uint64_t direction : {1, 2}) {
      reference::Map nudged(extent, 3, image);
      const std::vector<float> noise = test::random_values(size, 7777 + direction, -nudge, nudge);
      for (std::size_t i = 0; i < size; ++i) nudged.values[i] += noise[i];
      const auto there = reference::loss_and_gradient(network, weights, mapping, layer, filter, nudged);
      smooth = smooth && test::l2_relative_error(there.gradient.values, expected.gradient.values) < tolerance;
    }
    if (smooth) return image;
  }
  ADD_FAILURE() << "no smooth image found";
  return test::random_values(size, 0);
}

void expect_reference(const Network& network, const Weights& weights, const InputMapping& mapping,
                      PlanRule rule, int layer, const std::vector<int>& filters, Extent extent,
                      double tolerance) {
  const std::size_t size = static_cast<std::size_t>(extent.positions()) * 3;
  std::vector<reference::Gradient> expected(filters.size());
  std::vector<float> images;
  for (std::size_t i = 0; i < filters.size(); ++i) {
    const std::vector<float> image =
        smooth_image(network, weights, mapping, layer, filters[i], extent,
                     rule == PlanRule::direct ? 5e-7f : 3e-6f, tolerance, expected[i]);
    images.insert(images.end(), image.begin(), image.end());
  }
  const Result result = run(network, weights, mapping, rule, layer, filters, images, extent);
  for (std::size_t i = 0; i < filters.size(); ++i) {
    const std::span<const float> image(images.data() + i * size, size);
    const std::span<const float> gradient(result.gradients.data() + i * size, size);
    SCOPED_TRACE(network.convolutions[layer].name + ":" + std::to_string(filters[i]) + " " + mapping.name);
    // A response is a difference of terms as large as the layer's largest.
    const auto layer_map =
        reference::activation(network, weights, mapping, layer, reference::Map(extent, 3, image));
    EXPECT_NEAR(result.losses[i], expected[i].loss, tolerance * std::ranges::max(layer_map.values));
    EXPECT_LT(test::l2_relative_error(gradient, expected[i].gradient.values), tolerance);
  }
}

class SmallNetworkStack : public testing::TestWithParam<std::tuple<Extent, int>> {};

TEST_P(SmallNetworkStack, GradientOfEveryLayer) {
  const auto [extent, which] = GetParam();
  const Network network = which == 0   ? test::small_network()
                          : which == 1 ? test::make_network({{16}, {32, true}, {48}, {16, true}, {32}})
                                       : test::make_network({{8, true}, {24}, {8}, {16, true}, {40, true}});
  const Weights weights = test::random_weights(network, 5);
  for (const InputMapping& mapping : {identity_mapping(), keras_mapping(), torchvision_mapping()}) {
    for (int layer = 0; layer < network.layer_count(); ++layer) {
      const int last = network.convolutions[layer].out_channels - 1;
      expect_reference(network, weights, mapping, PlanRule::direct, layer, {0, last, last / 2}, extent,
                       kDirectTolerance);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Sizes, SmallNetworkStack,
                         testing::Combine(testing::Values(Extent{8, 8}, Extent{9, 11}, Extent{13, 16},
                                                          Extent{21, 10}),
                                          testing::Values(0, 1, 2)));

class Vgg16Stack : public testing::TestWithParam<int> {
 protected:
  static const Weights& weights() {
    static const Weights made = synthetic_weights(vgg16(), 1);
    return made;
  }
};

TEST_P(Vgg16Stack, DirectGradient) {
  expect_reference(vgg16(), weights(), identity_mapping(), PlanRule::direct, GetParam(), {37}, {32, 32},
                   kDirectTolerance);
}

TEST_P(Vgg16Stack, FixedPlanGradient) {
  expect_reference(vgg16(), weights(), identity_mapping(), PlanRule::fixed, GetParam(), {50}, {32, 32},
                   kWinogradTolerance);
}

TEST(Vgg16, TimedPlanGradientOfFiveImages) {
  const Weights weights = synthetic_weights(vgg16(), 1);
  for (const int layer : {3, 8}) {
    expect_reference(vgg16(), weights, identity_mapping(), PlanRule::timed, layer, {1, 12, 13, 14, 60},
                     {33, 35}, kWinogradTolerance);
  }
}

INSTANTIATE_TEST_SUITE_P(Layers, Vgg16Stack, testing::Range(0, 13),
                         [](const auto& layer) { return vgg16().convolutions[layer.param].name; });

}  // namespace
}  // namespace filterscope::cpu
