// Compares the filter head of every table of host/cpu/kernels.h with the double-precision reference: odd
// sizes, outputs poisoned beforehand, rows divided unevenly. convolution_test.cpp tests the steps of a
// convolution together.

#include "host/cpu/kernels.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "tests/cpu/blocked.h"
#include "tests/support/random_network.h"
#include "tests/support/reference.h"

namespace filterscope::cpu {
namespace {

constexpr float kPoison = std::numeric_limits<float>::quiet_NaN();
// The tolerance of fp32 sums of at most 9 * 64 products of numbers up to 1.
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
      for (const int channels : {3, 16, 40, 64}) all.push_back({tables.tables[i], {channels, height, width}});
    }
  }
  return all;
}

class KernelsTest : public testing::TestWithParam<Case> {
 protected:
  const Kernels& kernels_ = *GetParam().table;
  const MapShape shape_ = GetParam().shape;

  // Calls body(begin, end) for an uneven division of [0, rows).
  template <typename Body>
  static void split(int rows, const Body& body) {
    const int middle = rows / 3;
    if (middle > 0) body(0, middle);
    if (rows > middle) body(middle, rows);
  }
};

std::string case_name(const testing::TestParamInfo<Case>& info) {
  const MapShape& shape = info.param.shape;
  return std::string(info.param.table->name) + "_" + std::to_string(shape.channels) + "_" +
         std::to_string(shape.height) + "x" + std::to_string(shape.width);
}

TEST_P(KernelsTest, HeadForwardAndBackward) {
  const Extent extent{shape_.height, shape_.width};
  // As the output of a ReLU, with many exact zeros.
  reference::Map input(extent, shape_.channels,
                       test::random_values(shape_.positions() * shape_.channels, 5, -1.f, 1.f));
  input = reference::relu(input);
  const std::vector<float> map = to_blocked(input);
  const std::vector<float> kernel =
      test::random_values(9 * static_cast<std::size_t>(shape_.channels), 6, -1.f, 1.f);
  // [blocks][9][kLanes]; weights beyond the last channel are multiplied by zeros of the map.
  std::vector<float> weights(static_cast<std::size_t>(shape_.blocks()) * 9 * kLanes, 0.f);
  for (int tap = 0; tap < 9; ++tap) {
    for (int channel = 0; channel < shape_.channels; ++channel) {
      weights[(static_cast<std::size_t>(channel / kLanes) * 9 + tap) * kLanes + channel % kLanes] =
          kernel[static_cast<std::size_t>(tap) * shape_.channels + channel];
    }
  }
  const float bias = -0.25f;
  std::vector<float> response(shape_.positions(), kPoison);
  std::vector<float> scratch(static_cast<std::size_t>(shape_.width) * kLanes, kPoison);
  split(shape_.height, [&](int begin, int end) {
    kernels_.head_forward(shape_, map.data(), weights.data(), bias, 0.f, response.data(), scratch.data(),
                          begin, end);
  });
  const reference::Map expected =
      reference::relu(reference::convolve(input, kernel, std::vector<float>{bias}));
  EXPECT_LT(test::max_relative_error(response, expected.values), kSumTolerance);
  std::vector<float> before_relu(shape_.positions(), kPoison);
  split(shape_.height, [&](int begin, int end) {
    kernels_.head_forward(shape_, map.data(), weights.data(), bias, -std::numeric_limits<float>::infinity(),
                          before_relu.data(), scratch.data(), begin, end);
  });
  EXPECT_LT(test::max_relative_error(before_relu,
                                     reference::convolve(input, kernel, std::vector<float>{bias}).values),
            kSumTolerance);

  const float scale = 0.37f;
  reference::Map response_gradient(extent, 1);
  for (std::size_t i = 0; i < response.size(); ++i)
    response_gradient.values[i] = response[i] > 0.f ? scale : 0.0;
  const reference::Map expected_gradient =
      reference::convolve_input_gradient(response_gradient, kernel, shape_.channels);
  for (const bool masked : {false, true}) {
    std::vector<float> gradient(shape_.size(), kPoison);
    std::ranges::fill(scratch, kPoison);
    split(shape_.height, [&](int begin, int end) {
      kernels_.head_backward(shape_, response.data(), scale, weights.data(), masked ? map.data() : nullptr,
                             gradient.data(), scratch.data(), begin, end);
    });
    const reference::Map wanted =
        masked ? reference::relu_gradient(expected_gradient, input) : expected_gradient;
    EXPECT_LT(test::max_relative_error(from_blocked(shape_, gradient.data()).values, wanted.values),
              kSumTolerance);
    for (std::size_t i = 0; i < gradient.size(); ++i) ASSERT_FALSE(std::isnan(gradient[i])) << i;
  }
}

INSTANTIATE_TEST_SUITE_P(Tables, KernelsTest, testing::ValuesIn(cases()), case_name);

}  // namespace
}  // namespace filterscope::cpu
