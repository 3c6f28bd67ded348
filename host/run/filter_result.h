#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "../model/network.h"

namespace filterscope {

enum class FilterStatus {
  ok,
  rescued,  ///< Some iterations climbed the map before its ReLU (Recipe::rescue); the finished image
            ///< activates it.
  dead,  ///< No position of the finished image's map is above zero, or the gradient became exactly zero, and
         ///< the image stayed as it was from there on.
  nonfinite,  ///< A value stopped being finite; the image is the last finite one.
};
std::string_view to_string(FilterStatus status);
/// Whether the finished image activates the filter.
constexpr bool is_alive(FilterStatus status) {
  return status == FilterStatus::ok || status == FilterStatus::rescued;
}

/// The loss that iteration `iteration` (from 1) found, before its step.
struct TracePoint {
  int iteration;
  float loss;
};

/// Frames of an ascent of so many iterations: one before the first iteration and after every frame_every,
/// and the finished picture.
constexpr int frame_count(int iterations, int frame_every) {
  return (iterations + frame_every - 1) / frame_every + 1;
}

/// What rendering one filter gives.
struct FilterResult {
  FilterId id{};
  FilterStatus status = FilterStatus::ok;
  int iterations = 0;         ///< Steps taken; fewer than asked for when dead or nonfinite.
  float first_loss = 0.f;     ///< Of the initial image.
  float final_loss = 0.f;     ///< Of the finished image.
  float gradient_norm = 0.f;  ///< Of the last gradient, before its normalisation.
  /// With Recipe::rescue: iterations that found no position of the map above zero. Each made a step all the
  /// same, unless there was no gradient before the ReLU either.
  int rescued_iterations = 0;
  /// The iteration after the last of those, from which on the map was above zero somewhere; one more than
  /// `iterations` where only the finished image's is. 0 unless the status is rescued.
  int alive_from = 0;
  std::vector<TracePoint> trace;
  std::vector<std::uint8_t> picture;  ///< Row-major [height, width, 3], RGB.
  std::vector<float> image;           ///< Row-major [height, width, 3], unscaled; only with keep_images.
  int frame_every = 0;                ///< As RenderOptions says.
  /// Only with frame_every: the pictures that 0, frame_every, 2 * frame_every, ... steps give, each encoded
  /// by itself as `picture` is, and at the end `picture`: frame_count(iterations, frame_every) in all.
  std::vector<std::vector<std::uint8_t>> frames;
};

}  // namespace filterscope
