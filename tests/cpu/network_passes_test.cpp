// Compares losses and gradients of every layer, of small odd networks and of VGG16, with the double-precision
// reference. That computes all channels of the target layer, so the filter head is also compared with the
// full convolution.

#include "host/cpu/network_passes.h"

#include <gtest/gtest.h>
#include <malloc.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <memory>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

#include "tests/support/random_network.h"
#include "tests/support/reference.h"

namespace filterscope::cpu {
namespace {

// The tolerance of losses and gradients through up to twelve layers, each of which adds its rounding; larger
// tiles of Winograd's algorithm round more.
constexpr double kSmallestTolerance = 1e-5;
constexpr double kTolerance = 5e-5;
// If rounding changes a ReLU mask or the argmax of a pool window, the gradient is that of a neighbouring
// linear piece of the network, which differs in a few positions.
constexpr double kNeighbourTolerance = 0.15;

struct Result {
  std::vector<double> losses;
  std::vector<float> gradients;
};

Result run(const Network& network, const Weights& weights, const InputMapping& mapping, PlanRule rule,
           int layer, const std::vector<int>& filters, const std::vector<float>& images, Extent extent) {
  Planner planner(network, weights, extent, rule);
  const int count = static_cast<int>(filters.size());
  Stage stage;
  stage.input_mapping = mapping;
  NetworkPasses passes(network, weights, stage, planner, planner.make(layer, count), filters);
  Result result{std::vector<double>(count, -1), std::vector<float>(images.size(), NAN)};
  passes.loss_and_gradient(images.data(), result.losses.data(), result.gradients.data());
  // Nothing may leak from the first run into a second one, and loss() must return the same losses.
  Result again{std::vector<double>(count, -1), std::vector<float>(images.size(), NAN)};
  passes.loss_and_gradient(images.data(), again.losses.data(), again.gradients.data());
  EXPECT_EQ(result.gradients, again.gradients);
  passes.loss(images.data(), again.losses.data());
  EXPECT_EQ(result.losses, again.losses);
  return result;
}

#if !defined(__SANITIZE_ADDRESS__)  // It ends the program on so large an allocation.
TEST(AlignedBuffer, SaysWhatCouldNotBeHad) {
  constexpr std::size_t kTooMany = std::size_t{1} << 60;
  try {
    const AlignedBuffer<float> buffer(kTooMany);
    ADD_FAILURE() << "so much memory?";
  } catch (const OutOfMemory& error) {
    EXPECT_EQ(error.bytes(), kTooMany * sizeof(float));
  }
}

std::size_t allocated_bytes() {
  const struct mallinfo2 info = mallinfo2();
  return info.uordblks + info.hblkhd;
}

TEST(CpuNetworkPasses, TakeTheMemoryThatTheySay) {
  const Network network = test::make_network({{64}, {64, true}, {128}, {128, true}, {256}, {256}});
  const Weights weights = test::random_weights(network, 3);
  for (const Extent extent : {Extent{96, 80}, Extent{23, 31}}) {
    for (const PlanRule rule : {PlanRule::automatic, PlanRule::smallest}) {
      for (int layer = 0; layer < network.layer_count(); ++layer) {
        for (const int images : {1, 7}) {
          SCOPED_TRACE(testing::Message() << extent.height << " layer " << layer << " images " << images);
          Planner planner(network, weights, extent, rule);
          const std::size_t before = allocated_bytes();
          const NetworkPasses passes(network, weights, find_recipe("seed").first(), planner,
                                     planner.make(layer, images), std::vector<int>(images));
          const auto taken = static_cast<double>(allocated_bytes() - before);
          const auto said = static_cast<double>(passes_bytes(network, planner, layer, images));
          EXPECT_LE(said, taken);
          // Large buffers are whole huge pages.
          EXPECT_GE(said, 0.7 * taken - 2e6);
        }
      }
    }
  }
}
#endif

TEST(CpuNetworkPasses, StopsBetweenItsStepsAndLeavesNothingBehind) {
  const Network network = test::small_network();
  const Weights weights = test::random_weights(network, 3);
  constexpr int kImages = 16;
  const Extent extent{64, 64};
  Planner planner(network, weights, extent, PlanRule::automatic);
  std::vector<int> filters(kImages);
  for (int image = 0; image < kImages; ++image) filters[image] = image % network.convolutions[2].out_channels;
  NetworkPasses passes(network, weights, find_recipe("seed").first(), planner, planner.make(2, kImages),
                       filters);
  const std::vector<float> images = test::random_values(kImages * extent.positions() * 3, 1);
  std::vector<double> expected(kImages, -1);
  std::vector<float> expected_gradients(images.size(), NAN);
  std::stop_source never;
  EXPECT_TRUE(
      passes.loss_and_gradient(images.data(), expected.data(), expected_gradients.data(), never.get_token()));

  // Stops ever later, until a stop comes too late.
  int stopped = 0;
  for (int microseconds = 0;; microseconds += microseconds / 2 + 50) {
    std::stop_source source;
    std::vector<double> losses(kImages, -1);
    std::vector<float> gradients(images.size(), NAN);
    if (microseconds == 0) source.request_stop();
    std::thread late([&] {
      std::this_thread::sleep_for(std::chrono::microseconds(microseconds));
      source.request_stop();
    });
    const bool whole =
        passes.loss_and_gradient(images.data(), losses.data(), gradients.data(), source.get_token());
    late.join();
    if (whole) break;
    ++stopped;
    EXPECT_TRUE(passes.loss_and_gradient(images.data(), losses.data(), gradients.data()));
    ASSERT_EQ(losses, expected) << microseconds;
    ASSERT_EQ(gradients, expected_gradients) << microseconds;
  }
  EXPECT_GT(stopped, 0);
}

// Three images per filter. All must agree with the reference up to a neighbouring linear piece, and one of
// each filter's to the last digits: two ways of computing never agree on every ReLU of a deep network.
void expect_reference(const Network& network, const Weights& weights, const InputMapping& mapping,
                      PlanRule rule, int layer, const std::vector<int>& filters, Extent extent) {
  constexpr int kImages = 3;
  const double tolerance = rule == PlanRule::smallest ? kSmallestTolerance : kTolerance;
  const std::size_t size = static_cast<std::size_t>(extent.positions()) * 3;
  const std::size_t count = filters.size() * kImages;
  const std::vector<float> images = test::random_values(size * count, 100 + layer);
  std::vector<int> filter_of_image;
  for (std::size_t i = 0; i < count; ++i) filter_of_image.push_back(filters[i % filters.size()]);
  const Result result = run(network, weights, mapping, rule, layer, filter_of_image, images, extent);
  std::vector<double> least(filters.size(), 1);
  for (std::size_t i = 0; i < count; ++i) {
    SCOPED_TRACE(network.convolutions[layer].name + ":" + std::to_string(filter_of_image[i]) + " " +
                 mapping.name + ", image " + std::to_string(i));
    const reference::Map image(extent, 3, std::span(images).subspan(i * size, size));
    const reference::Gradient expected =
        reference::loss_and_gradient(network, weights, mapping, layer, filter_of_image[i], image);
    // A response is a difference of terms as large as the layer's largest value.
    const auto layer_map = reference::activation(network, weights, mapping, layer, image);
    EXPECT_NEAR(result.losses[i], expected.loss, tolerance * std::ranges::max(layer_map.values));
    const std::span<const float> gradient(result.gradients.data() + i * size, size);
    const double error = test::l2_relative_error(gradient, expected.gradient.values);
    EXPECT_LT(error, kNeighbourTolerance);
    least[i % filters.size()] = std::min(least[i % filters.size()], error);
  }
  for (std::size_t i = 0; i < filters.size(); ++i) {
    EXPECT_LT(least[i], tolerance) << network.convolutions[layer].name << ":" << filters[i] << " "
                                   << mapping.name;
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
      for (const PlanRule rule : {PlanRule::smallest, PlanRule::fixed}) {
        expect_reference(network, weights, mapping, rule, layer, {0, last, last / 2}, extent);
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Sizes, SmallNetworkStack,
                         testing::Combine(testing::Values(Extent{8, 8}, Extent{9, 11}, Extent{13, 16},
                                                          Extent{21, 10}),
                                          testing::Values(0, 1, 2)));

class Vgg16Passes : public testing::TestWithParam<int> {
 protected:
  static const Weights& weights() {
    static const Weights made = synthetic_weights(vgg16(), 1);
    return made;
  }
};

TEST_P(Vgg16Passes, SmallestTiles) {
  expect_reference(vgg16(), weights(), identity_mapping(), PlanRule::smallest, GetParam(), {37}, {32, 32});
}

TEST_P(Vgg16Passes, FixedTiles) {
  expect_reference(vgg16(), weights(), identity_mapping(), PlanRule::fixed, GetParam(), {50}, {32, 32});
}

TEST(Vgg16, AutomaticTilesOddSize) {
  const Weights weights = synthetic_weights(vgg16(), 1);
  for (const int layer : {3, 8}) {
    expect_reference(vgg16(), weights, identity_mapping(), PlanRule::automatic, layer, {1, 14, 60}, {33, 35});
  }
}

INSTANTIATE_TEST_SUITE_P(Layers, Vgg16Passes, testing::Range(0, 13),
                         [](const auto& layer) { return vgg16().convolutions[layer.param].name; });

}  // namespace
}  // namespace filterscope::cpu
