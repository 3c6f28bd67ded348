#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include "../first_layer/first_layer.h"
#include "../tolerance.h"
#include "kernels/head/filter_head.h"
#include "tests/support/device.h"
#include "tests/support/random_network.h"

/// The checks of the filter heads of all layers.
namespace filterscope::test::filter_head {

/// The target filters of the images, among those of the layer: neighbours differ, and one occurs twice.
constexpr int kLayerFilters = 5;
inline const std::vector<int> kFilters{3, 0, 3};
inline const int kImages = static_cast<int>(kFilters.size());

struct Parameters {
  std::vector<float> weights;  // [kLayerFilters][3][3][channels]
  std::vector<float> bias;
  std::span<const float> filter(int number) const {
    const std::size_t size = weights.size() / kLayerFilters;
    return std::span(weights).subspan(static_cast<std::size_t>(number) * size, size);
  }
};

inline Parameters random_parameters(int channels, std::uint64_t seed) {
  return {random_values(static_cast<std::size_t>(kLayerFilters) * 9 * channels, seed, -1.f),
          random_values(kLayerFilters, seed + 1, -1.f)};
}

inline std::size_t words(Extent extent) {
  return static_cast<std::size_t>((extent.positions() + 31) / 32);
}

inline bool is_active(std::span<const std::uint32_t> active, std::size_t image, Extent extent,
                      std::size_t position) {
  return (active[image * words(extent) + position / 32] >> position % 32 & 1u) != 0;
}

/// Windows to check with: the whole map, some of it, a single position, and responses before the ReLU.
inline std::vector<kernels::HeadWindow> windows_of(Extent extent) {
  return {{},
          {.before_relu = true},
          {.top = 2, .left = 2, .bottom = extent.height - 2, .right = extent.width - 2},
          {.top = extent.height / 2,
           .left = extent.width / 2,
           .bottom = extent.height / 2 + 1,
           .right = extent.width / 2 + 1},
          {.top = 1, .left = 0, .bottom = extent.height, .right = extent.width - 1, .before_relu = true}};
}

inline bool counts(const kernels::HeadWindow& window, Extent extent, std::size_t position) {
  const int y = static_cast<int>(position) / extent.width;
  const int x = static_cast<int>(position) % extent.width;
  return y >= window.top && y < window.bottom && x >= window.left && x < window.right;
}

struct Head {
  std::vector<float> sums;
  std::vector<std::uint32_t> active;
};

/// Compares with the reference. `inputs`: the target layer's input; `terms`: additions in a response.
inline void expect_head(const Head& actual, Extent extent, const std::vector<reference::Map>& inputs,
                        const std::vector<reference::Map>& input_magnitudes, const Parameters& parameters,
                        int terms, const kernels::HeadWindow& window = {}) {
  const std::size_t positions = static_cast<std::size_t>(extent.positions());
  const std::size_t part_size =
      32 * ((words(extent) + kernels::kFilterHeadParts - 1) / kernels::kFilterHeadParts);
  std::vector<double> sums(actual.sums.size(), 0.0);
  std::vector<double> magnitudes(actual.sums.size(), 0.0);
  std::size_t wrong = 0;
  for (std::size_t image = 0; image < inputs.size(); ++image) {
    const int filter = kFilters[image];
    const float bias[] = {parameters.bias[filter]};
    const reference::Map response = reference::convolve(inputs[image], parameters.filter(filter), bias);
    const reference::Map magnitude = reference::convolve(
        input_magnitudes[image], test::magnitudes(parameters.filter(filter)), test::magnitudes(bias));
    for (std::size_t position = 0; position < positions; ++position) {
      const bool active = is_active(actual.active, image, extent, position);
      if (!counts(window, extent, position)) {
        wrong += active ? 1 : 0;
        continue;
      }
      const std::size_t part = image * kernels::kFilterHeadParts + position / part_size;
      sums[part] += window.before_relu ? response.values[position] : std::max(response.values[position], 0.0);
      magnitudes[part] += magnitude.values[position];
      const double tolerance = sum_tolerance<float>(0, magnitude.values[position], terms);
      if (window.before_relu) {
        wrong += active ? 0 : 1;
      } else if (active ? response.values[position] < -tolerance : response.values[position] > tolerance)
        ++wrong;
    }
    for (std::size_t position = positions; position < words(extent) * 32; ++position) {
      if (is_active(actual.active, image, extent, position)) ++wrong;
    }
  }
  EXPECT_EQ(wrong, 0u) << "bits";
  // At most part_size responses are added per part.
  expect_sums<float>(actual.sums, sums, magnitudes, terms + static_cast<int>(part_size));
}

inline std::vector<std::uint32_t> random_active(Extent extent, std::uint64_t seed) {
  const auto values = random_values(static_cast<std::size_t>(kImages * extent.positions()), seed);
  std::vector<std::uint32_t> active(kImages * words(extent), 0);
  for (std::size_t i = 0; i < values.size(); ++i) {
    const std::size_t image = i / extent.positions();
    const std::size_t position = i % extent.positions();
    if (values[i] < 0.6f) active[image * words(extent) + position / 32] |= 1u << position % 32;
  }
  return active;
}

/// Which images have all-zero sums; the others have a single part that is not zero, a different one each
/// time. The middle image must neither affect its neighbours nor be affected by them.
enum class Rescue { off, none, middle, others };
inline const std::vector<Rescue> kRescues{Rescue::off, Rescue::none, Rescue::middle, Rescue::others};

inline bool is_rescued(Rescue rescue, int image) {
  return rescue == Rescue::middle ? image == 1 : rescue == Rescue::others && image != 1;
}

/// The sums of one more image on either side are zero; the kernel must not read them.
inline std::vector<float> sums_of(Rescue rescue, std::uint64_t seed) {
  std::vector<float> sums(static_cast<std::size_t>(kImages + 2) * kernels::kFilterHeadParts, 0.f);
  for (int image = 0; image < kImages; ++image) {
    if (is_rescued(rescue, image)) continue;
    const std::size_t part = (seed + 3 * static_cast<std::size_t>(image)) % kernels::kFilterHeadParts;
    // NaN is not rescued either.
    sums[static_cast<std::size_t>(image + 1) * kernels::kFilterHeadParts + part] =
        image == 2 ? std::numeric_limits<float>::quiet_NaN() : 0x1p-149f;
  }
  return sums;
}

/// The gradient of the responses: `scale` at the active positions, or at all of them that count.
inline reference::Map response_gradient(std::span<const std::uint32_t> active, bool rescued,
                                        std::size_t image, Extent extent, float scale,
                                        const kernels::HeadWindow& window = {}) {
  reference::Map gradient(extent, 1);
  for (std::size_t position = 0; position < gradient.values.size(); ++position) {
    const bool passes =
        (rescued && counts(window, extent, position)) || is_active(active, image, extent, position);
    gradient.values[position] = passes ? double{scale} : 0.0;
  }
  return gradient;
}

}  // namespace filterscope::test::filter_head
