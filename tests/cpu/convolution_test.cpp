// Compares both passes of host/cpu/convolution.h, with every tile size and every table of kernels, with the
// double-precision reference: odd sizes, incomplete channel blocks, outputs and workspace poisoned
// beforehand.

#include "host/cpu/convolution.h"

#include <gtest/gtest.h>

#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "host/base/threads.h"
#include "tests/cpu/blocked.h"
#include "tests/support/random_network.h"
#include "tests/support/reference.h"

namespace filterscope::cpu {
namespace {

constexpr float kPoison = std::numeric_limits<float>::quiet_NaN();
constexpr int kThreads = 3;

// Tolerances of fp32 sums of 9 * 64 products. The transforms of larger tiles add and subtract multiples of
// them.
double tolerance(int tile) {
  return tile == 2 ? 3e-6 : 3e-5;
}

struct Case {
  int in_channels;
  int out_channels;
  Extent extent;
  int images;
};

class ConvolutionTest : public testing::TestWithParam<std::tuple<Case, int>> {
 protected:
  ThreadTeam team_{kThreads};
  const ThreadTeam::Scope scope_{&team_};
  const Case given_ = std::get<0>(GetParam());
  const int tile_ = std::get<1>(GetParam());
  const Network network_{.name = "one",
                         .convolutions = {{"layer", given_.in_channels, given_.out_channels, false}}};
  const Weights weights_ = test::random_weights(network_, 11);
  const LayerWeights& layer_ = *weights_.layers[0];
  const MapShape in_{given_.in_channels, given_.extent.height, given_.extent.width};
  const MapShape out_{given_.out_channels, given_.extent.height, given_.extent.width};

  reference::Map random_map(const MapShape& shape, std::uint64_t seed) const {
    return {{shape.height, shape.width},
            shape.channels,
            test::random_values(shape.positions() * shape.channels, seed, -1.f, 1.f)};
  }

  std::vector<float> blocked_images(const std::vector<reference::Map>& maps) const {
    std::vector<float> all;
    for (const reference::Map& map : maps) {
      const std::vector<float> one = to_blocked(map);
      all.insert(all.end(), one.begin(), one.end());
    }
    return all;
  }

  // Runs every table, with tiles shared by all threads or not, and all tiles at once or few.
  template <typename Body>
  void for_each_way(Pass pass, const Body& body) const {
    const KernelTables tables = kernel_tables();
    const int tiles = given_.images * TileGrid{tile_, in_.height, in_.width}.per_map();
    for (int i = 0; i < tables.count; ++i) {
      const Kernels& table = *tables.tables[i];
      const auto transformed = std::make_shared<TransformedWeights>(layer_, given_.in_channels,
                                                                    given_.out_channels, pass, tile_, table);
      for (const bool shared : {false, true}) {
        for (const int slots : {tiles, (tiles + 2) / 3}) {
          SCOPED_TRACE(std::string(table.name) + (shared ? " shared " : " own ") + std::to_string(slots));
          const bool forward = pass == Pass::forward;
          const WinogradConvolution convolution(forward ? in_ : out_, forward ? out_ : in_,
                                                {tile_, slots, shared}, transformed, table);
          Workspace workspace;
          convolution.reserve(workspace, kThreads);
          std::ranges::fill(workspace.span(), kPoison);
          body(table, convolution, workspace);
        }
      }
    }
  }

  static bool bit(const std::vector<std::uint8_t>& masks, std::size_t i) {
    return (masks[i / 8] >> (i % 8) & 1) != 0;
  }
};

TEST_P(ConvolutionTest, Forward) {
  std::vector<reference::Map> inputs;
  std::vector<reference::Map> expected;
  for (int image = 0; image < given_.images; ++image) {
    inputs.push_back(random_map(in_, 20 + image));
    expected.push_back(reference::relu(reference::convolve(inputs.back(), layer_.kernel, layer_.bias)));
  }
  const std::vector<float> maps = blocked_images(inputs);
  const std::size_t pooled_size = out_.pooled().size();
  std::vector<float> first;
  const Kernels* first_table = nullptr;
  for_each_way(
      Pass::forward, [&](const Kernels& table, const WinogradConvolution& convolution, Workspace& workspace) {
        std::vector<float> results(out_.size() * given_.images, kPoison);
        std::vector<std::uint8_t> masks(results.size() / 8, 0xAB);
        convolution.forward(given_.images, maps.data(), results.data(), masks.data(), workspace);
        for (int image = 0; image < given_.images; ++image) {
          EXPECT_LT(test::max_relative_error(from_blocked(out_, results.data() + out_.size() * image).values,
                                             expected[image].values),
                    tolerance(tile_));
        }
        for (std::size_t i = 0; i < results.size(); ++i) ASSERT_EQ(bit(masks, i), results[i] > 0.f) << i;
        // The bits do not depend on how the work is divided.
        if (first_table != &table) first = results;
        first_table = &table;
        EXPECT_EQ(results, first);

        std::vector<float> unmasked(results.size(), kPoison);
        convolution.forward(given_.images, maps.data(), unmasked.data(), nullptr, workspace);
        EXPECT_EQ(unmasked, results);

        if (pooled_size == 0) return;
        std::vector<float> pooled(pooled_size * given_.images, kPoison);
        std::vector<std::uint8_t> argmax(pooled.size(), 0xAB);
        convolution.forward_pool(given_.images, maps.data(), pooled.data(), argmax.data(), workspace);
        for (std::size_t i = 0; i < pooled.size(); ++i) {
          const std::size_t lane = i % kLanes;
          const std::size_t x = i / kLanes % (in_.width / 2);
          const std::size_t y = i / kLanes / (in_.width / 2) % (in_.height / 2);
          const std::size_t plane = i / (kLanes * static_cast<std::size_t>(in_.width / 2) * (in_.height / 2));
          float best = 0.f;
          int largest = 4;
          for (int k = 0; k < 4; ++k) {
            const float value =
                results[((plane * in_.height + 2 * y + k / 2) * in_.width + 2 * x + k % 2) * kLanes + lane];
            if (value > best) {
              best = value;
              largest = k;
            }
          }
          ASSERT_EQ(pooled[i], best) << i;
          ASSERT_EQ(argmax[i], largest) << i;
        }
      });
}

TEST_P(ConvolutionTest, Backward) {
  // Random masks of the input and random pool indices of the output.
  std::vector<std::uint8_t> masks(in_.size() / 8 * given_.images);
  const std::vector<float> mask_bytes = test::random_values(masks.size(), 1, 0.f, 256.f);
  for (std::size_t i = 0; i < masks.size(); ++i) masks[i] = static_cast<std::uint8_t>(mask_bytes[i]);
  const MapShape pooled_shape = out_.pooled();
  std::vector<std::uint8_t> argmax(pooled_shape.size() * given_.images);
  const std::vector<float> argmax_values = test::random_values(argmax.size(), 2, 0.f, 5.f);
  for (std::size_t i = 0; i < argmax.size(); ++i) argmax[i] = static_cast<std::uint8_t>(argmax_values[i]);

  for (const bool pooled : {false, true}) {
    SCOPED_TRACE(pooled ? "pooled" : "whole");
    if (pooled && pooled_shape.size() == 0) continue;
    std::vector<reference::Map> given;
    std::vector<reference::Map> expected;
    for (int image = 0; image < given_.images; ++image) {
      given.push_back(random_map(pooled ? pooled_shape : out_, 40 + image));
      reference::Map gradient = given.back();
      if (pooled) {
        gradient = reference::Map({out_.height, out_.width}, out_.channels);
        for (int channel = 0; channel < out_.channels; ++channel) {
          for (int y = 0; y < pooled_shape.height; ++y) {
            for (int x = 0; x < pooled_shape.width; ++x) {
              const std::size_t at = pooled_shape.size() * image +
                                     ((static_cast<std::size_t>(channel / kLanes) * pooled_shape.height + y) *
                                          pooled_shape.width +
                                      x) *
                                         kLanes +
                                     channel % kLanes;
              if (argmax[at] == 4) continue;
              gradient.at(2 * y + argmax[at] / 2, 2 * x + argmax[at] % 2, channel) =
                  given.back().at(y, x, channel);
            }
          }
        }
      }
      expected.push_back(reference::convolve_input_gradient(gradient, layer_.kernel, in_.channels));
    }
    const std::vector<float> gradients = blocked_images(given);
    std::vector<float> first;
    const Kernels* first_table = nullptr;
    for_each_way(Pass::backward, [&](const Kernels& table, const WinogradConvolution& convolution,
                                     Workspace& workspace) {
      const auto run = [&](const std::uint8_t* mask) {
        std::vector<float> results(in_.size() * given_.images, kPoison);
        if (pooled) {
          convolution.backward_pool(given_.images, gradients.data(), argmax.data(), results.data(), mask,
                                    workspace);
        } else {
          convolution.backward(given_.images, gradients.data(), results.data(), mask, workspace);
        }
        return results;
      };
      const std::vector<float> results = run(nullptr);
      for (int image = 0; image < given_.images; ++image) {
        EXPECT_LT(test::max_relative_error(from_blocked(in_, results.data() + in_.size() * image).values,
                                           expected[image].values),
                  tolerance(tile_));
      }
      if (first_table != &table) first = results;
      first_table = &table;
      EXPECT_EQ(results, first);

      const std::vector<float> masked = run(masks.data());
      for (std::size_t i = 0; i < masked.size(); ++i)
        ASSERT_EQ(masked[i], bit(masks, i) ? results[i] : 0.f) << i;
    });
  }
}

std::string case_name(const testing::TestParamInfo<std::tuple<Case, int>>& info) {
  const Case& given = std::get<0>(info.param);
  return std::to_string(given.in_channels) + "to" + std::to_string(given.out_channels) + "_" +
         std::to_string(given.extent.height) + "x" + std::to_string(given.extent.width) + "_by" +
         std::to_string(given.images) + "_tile" + std::to_string(std::get<1>(info.param));
}

INSTANTIATE_TEST_SUITE_P(
    Shapes, ConvolutionTest,
    testing::Combine(testing::Values(Case{3, 16, {7, 9}, 2}, Case{3, 5, {4, 3}, 1}, Case{5, 7, {9, 5}, 3},
                                     Case{16, 32, {1, 1}, 2}, Case{32, 64, {13, 11}, 1},
                                     Case{64, 64, {12, 12}, 3}, Case{64, 48, {6, 6}, 5},
                                     Case{64, 64, {24, 17}, 1}, Case{24, 40, {5, 6}, 2},
                                     Case{64, 160, {3, 2}, 4}, Case{16, 16, {20, 26}, 4}),
                     testing::Values(2, 4, 6)),
    case_name);

}  // namespace
}  // namespace filterscope::cpu
