#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "../model/network.h"

namespace filterscope {

enum class FilterStatus {
  ok,
  /// Some iterations climbed the map before its ReLU (Recipe::rescue); the finished image activates the
  /// filter.
  rescued,
  /// No position of the finished image's map is above zero, or the gradient became exactly zero, after which
  /// the image did not change.
  dead,
  nonfinite,  ///< A value became infinite or NaN; the image is the last finite one.
};
std::string_view to_string(FilterStatus status);
/// Whether the finished image activates the filter.
constexpr bool is_alive(FilterStatus status) {
  return status == FilterStatus::ok || status == FilterStatus::rescued;
}

/// The loss that an iteration (from 1) found before its step.
struct TracePoint {
  int iteration;
  float loss;
};

/// Number of frames of an ascent: one before the first iteration and after every frame_every iterations, and
/// the finished picture.
constexpr int frame_count(int iterations, int frame_every) {
  return (iterations + frame_every - 1) / frame_every + 1;
}

/// The result of rendering one filter.
struct FilterResult {
  FilterId id{};
  FilterStatus status = FilterStatus::ok;
  int iterations = 0;         ///< Steps taken; fewer than asked for when dead or nonfinite.
  float first_loss = 0.f;     ///< Loss of the initial image.
  float final_loss = 0.f;     ///< Loss of the finished image.
  float gradient_norm = 0.f;  ///< Norm of the last gradient before normalisation.
  /// With Recipe::rescue: iterations that found no position of the map above zero. They still took a step,
  /// unless there was no gradient before the ReLU either.
  int rescued_iterations = 0;
  /// The first iteration after the last of those; `iterations` + 1 if only the finished image activates the
  /// filter. 0 unless the status is rescued.
  int alive_from = 0;
  /// The network's maps were kept 2^-range times as large, so that they fit into fp16.
  int range = 0;
  std::vector<TracePoint> trace;
  std::vector<std::uint8_t> picture;  ///< Row-major [height, width, 3], RGB.
  std::vector<float> image;           ///< Row-major [height, width, 3], unscaled; only with keep_images.
  int frame_every = 0;                ///< RenderOptions::frame_every.
  /// Only with frame_every: the pictures after 0, frame_every, 2 * frame_every, ... steps, each encoded on
  /// its own like `picture`, and last `picture` itself: frame_count(iterations, frame_every) in all.
  std::vector<std::vector<std::uint8_t>> frames;
};

}  // namespace filterscope
