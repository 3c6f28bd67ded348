#include "regularisers.h"

#include <cmath>
#include <cstddef>

namespace filterscope {

namespace {

float sign(float value) {
  return static_cast<float>((value > 0.f) - (value < 0.f));
}

// gradient -= scale * d / d image of the sum of slope's antiderivative over the differences of neighbours.
template <class Slope>
void add_differences(Extent extent, std::span<const float> image, float scale, const Slope& slope,
                     std::span<float> gradient) {
  const std::size_t row = static_cast<std::size_t>(extent.width) * 3;
  for (int y = 0; y < extent.height; ++y) {
    for (std::size_t x = 0; x < row; ++x) {
      const std::size_t at = static_cast<std::size_t>(y) * row + x;
      float sum = 0;
      if (y > 0) sum += slope(image[at] - image[at - row]);
      if (y + 1 < extent.height) sum -= slope(image[at + row] - image[at]);
      if (x >= 3) sum += slope(image[at] - image[at - 3]);
      if (x + 3 < row) sum -= slope(image[at + 3] - image[at]);
      gradient[at] -= scale * sum;
    }
  }
}

}  // namespace

void add_penalty_gradient(const Regulariser& regulariser, Extent extent, std::span<const float> image,
                          std::span<float> gradient) {
  const float scale = regulariser.weight / static_cast<float>(image.size());
  switch (regulariser.kind) {
    case Regulariser::Kind::total_variation_l1:
      add_differences(extent, image, scale, sign, gradient);
      return;
    case Regulariser::Kind::total_variation_l2:
      add_differences(
          extent, image, scale, [](float difference) { return 2 * difference; }, gradient);
      return;
    case Regulariser::Kind::mean_magnitude:
      for (std::size_t i = 0; i < image.size(); ++i) gradient[i] -= scale * sign(image[i]);
      return;
    case Regulariser::Kind::lp_norm:
      break;
  }
  const double power = regulariser.power;
  double sum = 0;
  for (const float value : image) sum += std::pow(std::abs(double{value}), power);
  if (sum == 0) return;
  const double norm = std::pow(sum, 1 / power);
  for (std::size_t i = 0; i < image.size(); ++i) {
    gradient[i] -= static_cast<float>(double{scale} * sign(image[i]) *
                                      std::pow(std::abs(double{image[i]}) / norm, power - 1));
  }
}

}  // namespace filterscope
