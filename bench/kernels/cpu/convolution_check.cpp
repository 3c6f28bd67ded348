#include "convolution_check.h"

#include <algorithm>
#include <array>

namespace filterscope::bench {

namespace {

using cpu::MapShape;

std::string place(int image, int y, int x, int channel) {
  return fmt::format("image {}, row {}, column {}, channel {}", image, y, x, channel);
}

// The sum that an output consists of, bias included, and so its tolerance.
Sum response_at(const ForwardCheck& given, int image, int y, int x, int channel) {
  const Layer& layer = given.layer;
  const MapShape in{layer.in_channels, layer.map.height, layer.map.width};
  Sum sum = convolve_at(
      layer.map, y, x, layer.in_channels,
      [&](int in_y, int in_x, int c) { return given.maps[offset(in, image, in_y, in_x, c)]; },
      [&](int tap, int c) {
        return given.weights
            .kernel[(static_cast<std::size_t>(tap) * layer.in_channels + c) * layer.out_channels + channel];
      });
  sum.add(given.weights.bias[channel]);
  return sum;
}

}  // namespace

std::string check_forward(const ForwardCheck& given) {
  const Layer& layer = given.layer;
  const MapShape out{layer.out_channels, layer.map.height, layer.map.width};
  const double error = winograd_error(given.tile);
  Places places;
  Comparison comparison;
  for (int i = 0; i < Places::kCount; ++i) {
    const int image = places.any(given.images);
    const int channel = places.any(layer.out_channels);
    if (given.argmax == nullptr) {
      const int y = places.coordinate(out.height);
      const int x = places.coordinate(out.width);
      const auto where = [&] { return place(image, y, x, channel); };
      const Sum sum = response_at(given, image, y, x, channel);
      const std::size_t at = offset(out, image, y, x, channel);
      comparison.near(given.results[at], std::max(sum.value, 0.), sum.tolerance(error), where);
      if (given.masks != nullptr) {
        comparison.same(bit(given.masks, at) == (given.results[at] > 0),
                        [&] { return "the mask of " + where(); });
      }
      continue;
    }
    const MapShape pooled = out.pooled();
    const int y = places.coordinate(pooled.height);
    const int x = places.coordinate(pooled.width);
    const auto where = [&] { return place(image, y, x, channel); };
    std::array<double, 5> responses{};  // The fifth, 0, is the largest where the ReLU is inactive.
    double tolerance = 0;
    for (int k = 0; k < 4; ++k) {
      const Sum sum = response_at(given, image, 2 * y + k / 2, 2 * x + k % 2, channel);
      responses[k] = std::max(sum.value, 0.);
      tolerance = std::max(tolerance, sum.tolerance(error));
    }
    const double best = std::ranges::max(responses);
    const std::size_t at = offset(pooled, image, y, x, channel);
    comparison.near(given.results[at], best, tolerance, where);
    const int largest = given.argmax[at];
    comparison.same(largest <= 4 && responses[largest] >= best - 2 * tolerance &&
                        (largest == 4) == (given.results[at] == 0),
                    [&] { return "the argmax of " + where(); });
  }
  return comparison.complaint();
}

std::string check_dgrad(const DgradCheck& given) {
  const Layer& layer = given.layer;
  const MapShape in{layer.in_channels, layer.map.height, layer.map.width};
  const MapShape out{layer.out_channels, layer.map.height, layer.map.width};
  const MapShape pooled = out.pooled();
  Places places;
  Comparison comparison;
  for (int i = 0; i < Places::kCount; ++i) {
    const int image = places.any(given.images);
    const int y = places.coordinate(in.height);
    const int x = places.coordinate(in.width);
    const int channel = places.any(layer.in_channels);
    const auto gradient = [&](int out_y, int out_x, int k) {
      if (given.argmax == nullptr) return given.gradients[offset(out, image, out_y, out_x, k)];
      if (out_y / 2 >= pooled.height || out_x / 2 >= pooled.width) return 0.f;
      const std::size_t at = offset(pooled, image, out_y / 2, out_x / 2, k);
      return given.argmax[at] == 2 * (out_y % 2) + out_x % 2 ? given.gradients[at] : 0.f;
    };
    const auto weight = [&](int tap, int k) {
      return given.weights
          .kernel[(static_cast<std::size_t>(8 - tap) * layer.in_channels + channel) * layer.out_channels + k];
    };
    const Sum sum = convolve_at(layer.map, y, x, layer.out_channels, gradient, weight);
    const std::size_t at = offset(in, image, y, x, channel);
    const bool active = given.masks == nullptr || bit(given.masks, at);
    comparison.near(given.results[at], active ? sum.value : 0,
                    active ? sum.tolerance(winograd_error(given.tile)) : 0,
                    [&] { return place(image, y, x, channel); });
  }
  return comparison.complaint();
}

}  // namespace filterscope::bench
