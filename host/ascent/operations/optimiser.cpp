#include "optimiser.h"

#include <algorithm>
#include <cmath>
#include <vector>

namespace filterscope {

double sum_of_squares(std::span<const float> values) {
  double sum = 0;
  for (const float value : values) sum += static_cast<double>(value) * value;
  return sum;
}

double normalisation_divisor(const GradientNormalisation& normalisation, double sum_of_squares,
                             std::size_t values) {
  double power = sum_of_squares;
  switch (normalisation.kind) {
    case GradientNormalisation::Kind::none:
      return 1;
    case GradientNormalisation::Kind::l2:
      break;
    case GradientNormalisation::Kind::rms:
      power /= static_cast<double>(values);
      break;
  }
  if (normalisation.epsilon_place == GradientNormalisation::EpsilonPlace::added)
    return std::sqrt(power) + double{normalisation.epsilon};
  return std::sqrt(std::max(power, double{normalisation.epsilon}));
}

int optimiser_state(const Optimiser& optimiser) {
  switch (optimiser.kind) {
    case Optimiser::Kind::ascent:
      return 0;
    case Optimiser::Kind::momentum:
    case Optimiser::Kind::rmsprop:
      return 1;
    case Optimiser::Kind::adam:
      break;
  }
  return 2;
}

void take_step(const Stage& stage, int iteration, double divisor, std::span<const float> gradient,
               std::span<float> state, std::span<float> parameters) {
  const Optimiser& optimiser = stage.optimiser;
  const std::size_t count = parameters.size();
  const float inverse = static_cast<float>(1 / divisor);
  const float weight_decay = optimiser.weight_decay;
  // The gradient of what the optimiser climbs.
  const auto uphill = [&](std::size_t i) { return inverse * gradient[i] - weight_decay * parameters[i]; };
  switch (optimiser.kind) {
    case Optimiser::Kind::ascent: {
      const float factor = static_cast<float>(optimiser.step / divisor);
      if (weight_decay == 0.f) {
        for (std::size_t i = 0; i < count; ++i) parameters[i] += factor * gradient[i];
      } else {
        for (std::size_t i = 0; i < count; ++i) parameters[i] += optimiser.step * uphill(i);
      }
      break;
    }
    case Optimiser::Kind::momentum:
      for (std::size_t i = 0; i < count; ++i) {
        state[i] = optimiser.momentum * state[i] + uphill(i);
        parameters[i] += optimiser.step * state[i];
      }
      break;
    case Optimiser::Kind::rmsprop:
      for (std::size_t i = 0; i < count; ++i) {
        const float g = uphill(i);
        state[i] = optimiser.rho * state[i] + (1 - optimiser.rho) * g * g;
        parameters[i] += optimiser.step * g / std::sqrt(state[i] + optimiser.epsilon);
      }
      break;
    case Optimiser::Kind::adam: {
      const std::span<float> first = state.first(count);
      const std::span<float> second = state.subspan(count);
      const float step =
          static_cast<float>(optimiser.step / (1 - std::pow(double{optimiser.beta1}, iteration)));
      const float scale = static_cast<float>(1 / std::sqrt(1 - std::pow(double{optimiser.beta2}, iteration)));
      for (std::size_t i = 0; i < count; ++i) {
        const float g = uphill(i);
        first[i] = optimiser.beta1 * first[i] + (1 - optimiser.beta1) * g;
        second[i] = optimiser.beta2 * second[i] + (1 - optimiser.beta2) * g * g;
        parameters[i] += step * first[i] / (std::sqrt(second[i]) * scale + optimiser.epsilon);
      }
      break;
    }
  }
  const AfterStep& after = stage.after_step;
  if (after.decay != 0.f)
    for (float& value : parameters) value *= 1 - after.decay;
  if (after.clip)
    for (float& value : parameters) value = std::clamp(value, after.clip->low, after.clip->high);
}

std::vector<float> blur_weights(float deviation) {
  const int radius = static_cast<int>(std::ceil(3 * deviation));
  std::vector<float> weights(2 * radius + 1);
  double sum = 0;
  for (int i = -radius; i <= radius; ++i) sum += std::exp(-0.5 * i * i / (double{deviation} * deviation));
  for (int i = -radius; i <= radius; ++i)
    weights[i + radius] = static_cast<float>(std::exp(-0.5 * i * i / (double{deviation} * deviation)) / sum);
  return weights;
}

void blur(float deviation, Extent extent, std::span<float> image, std::span<float> scratch) {
  const std::vector<float> weights = blur_weights(deviation);
  const int radius = static_cast<int>(weights.size()) / 2;
  const auto at = [&](int y, int x) { return (static_cast<std::size_t>(y) * extent.width + x) * 3; };
  for (int y = 0; y < extent.height; ++y) {
    for (int x = 0; x < extent.width; ++x) {
      for (int c = 0; c < 3; ++c) {
        float value = 0;
        for (int i = -radius; i <= radius; ++i)
          value += weights[i + radius] * image[at(y, std::clamp(x + i, 0, extent.width - 1)) + c];
        scratch[at(y, x) + c] = value;
      }
    }
  }
  for (int y = 0; y < extent.height; ++y) {
    for (int x = 0; x < extent.width; ++x) {
      for (int c = 0; c < 3; ++c) {
        float value = 0;
        for (int i = -radius; i <= radius; ++i)
          value += weights[i + radius] * scratch[at(std::clamp(y + i, 0, extent.height - 1), x) + c];
        image[at(y, x) + c] = value;
      }
    }
  }
}

}  // namespace filterscope
