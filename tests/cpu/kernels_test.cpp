// Every table of host/cpu/kernels.h against plain double-precision loops: odd sizes, every kind of channel
// block, outputs poisoned beforehand, rows split unevenly.

#include "host/cpu/kernels.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "tests/support/random_network.h"
#include "tests/support/reference.h"

namespace filterscope::cpu {
namespace {

constexpr float kPoison = std::numeric_limits<float>::quiet_NaN();
// Sums of at most 9 * 64 products of numbers up to 1 in single precision.
constexpr double kSumTolerance = 1e-5;

struct Case {
  const Kernels* table;
  MapShape shape;
};

std::vector<Case> cases() {
  std::vector<Case> all;
  const KernelTables tables = kernel_tables();
  for (int i = 0; i < tables.count; ++i) {
    for (const auto& [height, width] : {std::pair{1, 1}, {2, 2}, {3, 5}, {6, 7}, {9, 12}, {13, 8}, {5, 33}}) {
      for (const auto& [channels, block] :
           {std::pair{3, 1}, {3, 3}, {5, 5}, {16, 16}, {64, 16}, {24, 8}, {48, 48}}) {
        all.push_back({tables.tables[i], {channels, height, width, block}});
      }
    }
  }
  return all;
}

class KernelsTest : public testing::TestWithParam<Case> {
 protected:
  const Kernels& kernels_ = *GetParam().table;
  const MapShape shape_ = GetParam().shape;

  std::vector<float> random_map(const MapShape& shape, std::uint64_t seed) const {
    return test::random_values(shape.size(), seed, -1.f, 1.f);
  }
  std::vector<float> relu_map(const MapShape& shape, std::uint64_t seed) const {
    std::vector<float> map = random_map(shape, seed);
    // Few distinct values, so that windows have ties, and many exact zeros.
    for (float& value : map) value = value > 0.f ? std::ceil(value * 4.f) / 4.f : 0.f;
    return map;
  }

  // From the blocked layout to the reference's HWC and back.
  static reference::Map to_reference(const MapShape& shape, const std::vector<float>& map) {
    reference::Map out({shape.height, shape.width}, shape.channels);
    std::size_t at = 0;
    for (int outer = 0; outer < shape.outer(); ++outer) {
      for (int y = 0; y < shape.height; ++y) {
        for (int x = 0; x < shape.width; ++x) {
          for (int lane = 0; lane < shape.block; ++lane) out.at(y, x, outer * shape.block + lane) = map[at++];
        }
      }
    }
    return out;
  }

  // Calls body(begin, end) for an uneven split of [0, rows).
  template <typename Body>
  static void split(int rows, const Body& body) {
    const int middle = rows / 3;
    if (middle > 0) body(0, middle);
    if (rows > middle) body(middle, rows);
  }

  std::vector<float> head_weights(std::uint64_t seed) const {
    return test::random_values(9 * static_cast<std::size_t>(shape_.channels), seed, -1.f, 1.f);
  }
  // Head weights [outer][9][block] as the kernel [3, 3, channels, 1] of the reference.
  std::vector<float> head_kernel(const std::vector<float>& weights) const {
    std::vector<float> kernel(weights.size());
    std::size_t at = 0;
    for (int outer = 0; outer < shape_.outer(); ++outer) {
      for (std::size_t tap = 0; tap < 9; ++tap) {
        for (int lane = 0; lane < shape_.block; ++lane) {
          kernel[tap * shape_.channels + outer * shape_.block + lane] = weights[at++];
        }
      }
    }
    return kernel;
  }
};

std::string case_name(const testing::TestParamInfo<Case>& info) {
  const MapShape& shape = info.param.shape;
  return std::string(info.param.table->name) + "_" + std::to_string(shape.channels) + "by" +
         std::to_string(shape.block) + "_" + std::to_string(shape.height) + "x" + std::to_string(shape.width);
}

TEST_P(KernelsTest, MaskKeepsWhatIsAboveZero) {
  const std::vector<float> map = relu_map(shape_, 1);
  std::vector<std::uint8_t> bits((map.size() + 7) / 8, 0xAB);
  kernels_.pack_mask(map.data(), map.size(), bits.data());
  for (std::size_t i = 0; i < bits.size() * 8; ++i) {
    const bool expected = i < map.size() && map[i] > 0.f;
    ASSERT_EQ((bits[i / 8] >> (i % 8) & 1) != 0, expected) << i;
  }
  std::vector<float> gradient = random_map(shape_, 2);
  const std::vector<float> before = gradient;
  kernels_.apply_mask(gradient.data(), bits.data(), gradient.size());
  for (std::size_t i = 0; i < gradient.size(); ++i)
    ASSERT_EQ(gradient[i], map[i] > 0.f ? before[i] : 0.f) << i;
}

TEST_P(KernelsTest, MaskOfNegativeZeroAndNegativesIsClosed) {
  const std::vector<float> map{-0.f, 0.f, -1.f, 1e-38f, 1.f, -1e-38f, 2.f, 0.f, -3.f};
  std::vector<std::uint8_t> bits(2, 0xFF);
  kernels_.pack_mask(map.data(), map.size(), bits.data());
  EXPECT_EQ(bits[0], 0b01011000);
  EXPECT_EQ(bits[1], 0);
}

TEST_P(KernelsTest, PoolForwardAndBackward) {
  if (shape_.height < 2 || shape_.width < 2) return;
  const MapShape pooled_shape = shape_.pooled();
  const std::vector<float> map = relu_map(shape_, 3);
  std::vector<float> pooled(pooled_shape.size(), kPoison);
  std::vector<std::uint8_t> winners(pooled_shape.size(), 0xFF);
  split(shape_.outer() * pooled_shape.height, [&](int begin, int end) {
    kernels_.pool_forward(shape_, map.data(), pooled.data(), winners.data(), begin, end);
  });
  const reference::Map expected_map = to_reference(shape_, map);
  EXPECT_EQ(to_reference(pooled_shape, pooled).values, reference::max_pool(expected_map).values);

  const std::vector<float> pooled_gradient = random_map(pooled_shape, 4);
  std::vector<float> gradient(shape_.size(), kPoison);
  split(shape_.outer() * ((shape_.height + 1) / 2), [&](int begin, int end) {
    kernels_.pool_backward(shape_, pooled_gradient.data(), winners.data(), gradient.data(), begin, end);
  });
  const reference::Map expected = reference::relu_gradient(
      reference::max_pool_gradient(to_reference(pooled_shape, pooled_gradient), expected_map), expected_map);
  EXPECT_EQ(to_reference(shape_, gradient).values, expected.values);
}

TEST_P(KernelsTest, HeadForwardAndBackward) {
  const std::vector<float> map = relu_map(shape_, 5);
  const std::vector<float> weights = head_weights(6);
  const std::vector<float> kernel = head_kernel(weights);
  const float bias = -0.25f;
  std::vector<float> response(shape_.positions(), kPoison);
  std::vector<float> scratch(static_cast<std::size_t>(shape_.width) * 16, kPoison);
  split(shape_.height, [&](int begin, int end) {
    kernels_.head_forward(shape_, map.data(), weights.data(), bias, response.data(), scratch.data(), begin,
                          end);
  });
  const reference::Map input = to_reference(shape_, map);
  const reference::Map expected =
      reference::relu(reference::convolve(input, kernel, std::vector<float>{bias}));
  EXPECT_LT(test::max_relative_error(response, expected.values), kSumTolerance);

  const float scale = 0.37f;
  reference::Map response_gradient({shape_.height, shape_.width}, 1);
  for (std::size_t i = 0; i < response.size(); ++i)
    response_gradient.values[i] = response[i] > 0.f ? scale : 0.0;
  const reference::Map expected_gradient =
      reference::convolve_input_gradient(response_gradient, kernel, shape_.channels);
  for (const bool masked : {false, true}) {
    std::vector<float> gradient(shape_.size(), kPoison);
    split(shape_.outer() * shape_.height, [&](int begin, int end) {
      kernels_.head_backward(shape_, response.data(), scale, weights.data(), masked ? map.data() : nullptr,
                             gradient.data(), begin, end);
    });
    const reference::Map wanted =
        masked ? reference::relu_gradient(expected_gradient, input) : expected_gradient;
    EXPECT_LT(test::max_relative_error(to_reference(shape_, gradient).values, wanted.values), kSumTolerance);
  }
}

TEST_P(KernelsTest, LastGradient) {
  const std::vector<float> gradient = random_map(shape_, 7);
  const std::vector<float> kernel = test::random_values(27 * static_cast<std::size_t>(shape_.channels), 8,
                                                        -1.f, 1.f);  // [3, 3, 3, channels]
  std::vector<float> weights(static_cast<std::size_t>(shape_.channels) * 32, 0.f);
  for (std::size_t row = 0; row < 27; ++row) {
    for (int channel = 0; channel < shape_.channels; ++channel) {
      weights[static_cast<std::size_t>(channel) * 32 + row] = kernel[row * shape_.channels + channel];
    }
  }
  std::vector<float> image_gradient(shape_.positions() * 3, kPoison);
  std::vector<float> scratch(static_cast<std::size_t>(shape_.width) * 3 * 32, kPoison);
  split(shape_.height, [&](int begin, int end) {
    kernels_.last_gradient(shape_, gradient.data(), weights.data(), image_gradient.data(), scratch.data(),
                           begin, end);
  });
  const reference::Map expected =
      reference::convolve_input_gradient(to_reference(shape_, gradient), kernel, 3);
  EXPECT_LT(test::max_relative_error(image_gradient, expected.values), kSumTolerance);
}

INSTANTIATE_TEST_SUITE_P(Tables, KernelsTest, testing::ValuesIn(cases()), case_name);

}  // namespace
}  // namespace filterscope::cpu
