#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "../model/network.h"
#include "operations/fourier.h"
#include "operations/transforms.h"
#include "recipe.h"

namespace filterscope {

/// What a stage does around the network's passes, for one image at a time, on the host:
///
///   parameters -> image -> canvas, which the network sees -> [passes] -> gradient of the canvas -> gradient
///   of the parameters -> step
///
/// Images and canvases are [height][width][3]. Functions are for several threads at once; spans of one call
/// do not overlap unless stated. Iterations count from 1, `iteration` within the stage.
class StageProgram {
 public:
  /// `earlier` iterations were taken in the stages before: random draws count on from them.
  StageProgram(const Stage& stage, std::uint64_t seed, int earlier);

  const Stage& stage() const { return stage_; }
  Extent canvas() const { return canvas_; }
  /// Floats of one image's parameters.
  std::size_t parameters() const { return fourier_ ? fourier_->size() : image_size(); }
  /// Floats of its optimiser's state.
  std::size_t state() const;
  std::size_t image_size() const { return static_cast<std::size_t>(stage_.extent.positions()) * 3; }
  std::size_t canvas_size() const { return static_cast<std::size_t>(canvas_.positions()) * 3; }
  /// The parameters are the image: the same memory can serve both.
  bool holds_image() const { return holds_image_; }
  /// The network sees the image as it is.
  bool shows_image() const { return stage_.transforms.empty(); }
  /// Nothing but the gradient moves the image: one whose gradient is zero stays as it is.
  bool rests_without_gradient() const;

  /// The drawn start of a filter.
  void start(FilterId id, std::span<float> parameters) const;
  /// The parameters of a given image.
  void start_from(std::span<const float> image, std::span<float> parameters) const;
  /// The image of `parameters`.
  void to_image(std::span<const float> parameters, std::span<float> image) const;
  /// Changes the image for good before an iteration. `scratch` holds an image.
  void keep_transforms(FilterId id, int iteration, std::span<float> image, std::span<float> scratch) const;
  /// What the network sees in an iteration; 0: the image at rest, as it is judged when it is finished.
  void to_canvas(FilterId id, int iteration, std::span<const float> image, std::span<float> canvas) const;
  /// From the gradient that the network gave for the canvas to that of the parameters, less the
  /// regularisers'. `image` is that of this iteration. `scratch` holds an image; it may be `canvas_gradient`
  /// if shows_image(), and `gradient` may be either if holds_image().
  void to_parameters(FilterId id, int iteration, std::span<const float> image,
                     std::span<const float> canvas_gradient, std::span<float> scratch,
                     std::span<float> gradient) const;
  /// Normalises and steps. `scratch` holds an image if AfterStep::blur_every is set.
  void step(int iteration, double sum_of_squares, std::span<const float> gradient, std::span<float> state,
            std::span<float> parameters, std::span<float> scratch) const;

 private:
  AffineMap map_of(FilterId id, int iteration) const;

  Stage stage_;
  std::uint64_t seed_;
  int earlier_;
  Extent canvas_;
  bool holds_image_;
  std::optional<FourierImage> fourier_;
};

}  // namespace filterscope
