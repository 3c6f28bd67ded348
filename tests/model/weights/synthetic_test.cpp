#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "host/model/weights/weights.h"
#include "kernels/common/philox.h"
#include "tests/support/reference.h"

namespace filterscope {
namespace {

/// FNV-1a over the values' bits.
std::uint64_t checksum(const Weights& weights) {
  std::uint64_t hash = 0xcbf29ce484222325u;
  const auto add = [&](const std::vector<float>& values) {
    for (const float value : values) {
      const auto bits = std::bit_cast<std::uint32_t>(value);
      for (int shift = 0; shift < 32; shift += 8) hash = (hash ^ (bits >> shift & 0xFF)) * 0x100000001b3u;
    }
  };
  for (const auto& layer : weights.layers) {
    add(layer->kernel);
    add(layer->bias);
  }
  return hash;
}

// Old pictures from synthetic weights must remain reproducible, so these numbers must never change.
TEST(SyntheticWeights, SameNumbersEverywhere) {
  EXPECT_EQ(checksum(synthetic_weights(vgg16())), 7586450486512585989u);
  EXPECT_EQ(checksum(synthetic_weights(vgg16(), 1)), 1605194534133019957u);
}

TEST(SyntheticWeights, Describes) {
  const Weights weights = synthetic_weights(vgg16(), 42);
  EXPECT_EQ(weights.name, "synthetic:42");
  EXPECT_TRUE(weights.synthetic());
  EXPECT_TRUE(weights.path.empty());
  EXPECT_TRUE(weights.sha256.empty());
  EXPECT_EQ(weights.natural_input, identity_mapping());
  ASSERT_EQ(weights.layers.size(), 13u);
  for (int layer = 0; layer < 13; ++layer) {
    const Convolution& convolution = vgg16().convolutions[layer];
    ASSERT_TRUE(weights.holds(layer));
    EXPECT_EQ(weights.layers[layer]->kernel.size(),
              static_cast<std::size_t>(9) * convolution.in_channels * convolution.out_channels);
    EXPECT_EQ(weights.layers[layer]->bias.size(), static_cast<std::size_t>(convolution.out_channels));
  }
}

TEST(SyntheticWeights, FirstLayerIsEdgesAndBlobs) {
  const Weights weights = synthetic_weights(vgg16());
  const auto at = [&](int y, int x, int channel, int filter) {
    return weights.layers[0]->kernel[((y * 3 + x) * 3 + channel) * 64 + filter];
  };
  for (int filter = 0; filter < 64; ++filter) {
    double sum = 0;
    double squares = 0;
    for (int tap = 0; tap < 27; ++tap) {
      const double value = weights.layers[0]->kernel[tap * 64 + filter];
      sum += value;
      squares += value * value;
    }
    EXPECT_NEAR(sum, 0, 1e-5) << filter;
    EXPECT_NEAR(squares, 12, 1e-4) << filter;
    for (int channel = 0; channel < 3; ++channel) {
      if (filter % 4 < 2) {
        // An edge is odd about the centre.
        EXPECT_EQ(at(1, 1, channel, filter), 0.f);
        EXPECT_NEAR(at(0, 0, channel, filter), -at(2, 2, channel, filter), 1e-6);
        EXPECT_NEAR(at(0, 1, channel, filter), -at(2, 1, channel, filter), 1e-6);
        if (filter % 4 == 0) {
          EXPECT_EQ(at(0, 1, channel, filter), at(0, 1, 0, filter));
        }
      } else {
        EXPECT_NEAR(at(0, 0, channel, filter), at(2, 2, channel, filter), 1e-6);
      }
      if (filter % 4 == 3) {
        EXPECT_FLOAT_EQ(at(1, 1, channel, filter), 4 * at(0, 0, channel, filter));
      }
    }
    for (int other = 0; other < filter; ++other) {
      double product = 0;
      for (int tap = 0; tap < 27; ++tap) {
        product += weights.layers[0]->kernel[tap * 64 + filter] * weights.layers[0]->kernel[tap * 64 + other];
      }
      EXPECT_LT(product, 12 * 0.9999) << filter << " is the same as " << other;
    }
  }
}

TEST(SyntheticWeights, ActivationsStayInRange) {
  const Network& network = vgg16();
  for (const std::uint64_t seed : {0, 3}) {
    const Weights weights = synthetic_weights(network, seed);
    const Extent extent{32, 32};
    reference::Map map(extent, 3, reference::noise_image(Start{}, 7, 0, 0, extent));
    for (int layer = 0; layer < network.layer_count(); ++layer) {
      const Convolution& convolution = network.convolutions[layer];
      map = reference::relu(
          reference::convolve(map, weights.layers[layer]->kernel, weights.layers[layer]->bias));
      double sum = 0;
      std::vector<bool> alive(convolution.out_channels, false);
      for (std::size_t i = 0; i < map.values.size(); ++i) {
        sum += map.values[i];
        if (map.values[i] > 0) alive[i % convolution.out_channels] = true;
      }
      const double mean = sum / static_cast<double>(map.values.size());
      EXPECT_GT(mean, 0.2) << convolution.name;
      EXPECT_LT(mean, 1.0) << convolution.name;
      EXPECT_LT(std::ranges::count(alive, false), convolution.out_channels / 10) << convolution.name;
      if (convolution.pool_after) map = reference::max_pool(map);
    }
  }
}

}  // namespace
}  // namespace filterscope
