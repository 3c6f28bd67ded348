#include "ascent.h"

#include <algorithm>
#include <cmath>

#include "kernels/common/philox.h"

namespace filterscope {

void initial_noise(const InitialImage& recipe, std::uint64_t seed, FilterId id, std::span<float> image) {
  const float range = recipe.high - recipe.low;
  for (std::size_t i = 0; i < image.size(); i += 4) {
    const Philox::Counter words =
        random_block(seed, RandomStream::initial_image, static_cast<std::uint32_t>(id.layer),
                     static_cast<std::uint32_t>(id.filter), static_cast<std::uint32_t>(i / 4));
    for (std::size_t word = 0; word < std::min<std::size_t>(4, image.size() - i); ++word) {
      image[i + word] = recipe.low + range * to_unit_float(words[word]);
    }
  }
}

double sum_of_squares(std::span<const float> values) {
  double sum = 0;
  for (const float value : values) sum += static_cast<double>(value) * value;
  return sum;
}

void normalise_and_step(const Recipe& recipe, double sum_of_squares, std::span<const float> gradient,
                        std::span<float> image) {
  const double norm = std::sqrt(std::max(sum_of_squares, double{recipe.gradient_normalisation.epsilon}));
  const float factor = static_cast<float>(recipe.optimiser.step / norm);
  for (std::size_t i = 0; i < image.size(); ++i) image[i] += factor * gradient[i];
}

void encode_picture(PictureMapping, std::span<const float> image, std::span<std::uint8_t> picture) {
  const auto [lowest, highest] = std::ranges::minmax(image);
  const float range = highest - lowest;
  if (!(range > 0.f)) {
    std::ranges::fill(picture, std::uint8_t{0});
    return;
  }
  for (std::size_t i = 0; i < image.size(); ++i) {
    picture[i] = static_cast<std::uint8_t>(255.f * ((image[i] - lowest) / range) + 0.5f);
  }
}

}  // namespace filterscope
