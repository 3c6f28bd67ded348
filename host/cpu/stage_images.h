#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "../ascent/stage_program.h"
#include "aligned.h"

namespace filterscope::cpu {

/// The images of a batch in one stage, with all that a StageProgram needs for them. Where parameters, image
/// and canvas are the same, they share memory. The calling thread's team shares the loops.
class StageImages {
 public:
  /// `program` must outlive it. Throws OutOfMemory.
  StageImages(const StageProgram& program, std::span<const FilterId> filters);
  /// Memory for one image.
  static std::size_t bytes(const StageProgram& program);

  /// Draws the start images.
  void start();
  /// Starts image `i` from `image`, of the stage's extent.
  void start_from(int i, std::span<const float> image);
  /// Makes the images and the canvases of an iteration, from 1; 0: at rest.
  void show(int iteration);
  /// What the network reads, [images][canvas height][canvas width][3], and where it leaves its gradient.
  const float* canvases() const { return canvases_.size() > 0 ? canvases_.data() : images(); }
  float* canvas_gradients() { return canvas_gradients_.data(); }
  /// Brings the gradients to the parameters; squares[i] becomes the sum of squares of image i's.
  void differentiate(int iteration, std::span<double> squares);
  /// One step of image `i`. For several threads at once.
  void step(int iteration, int i, double sum_of_squares);
  /// Image `i`, as show() made it.
  std::span<const float> image(int i) const {
    return {images() + program_.image_size() * i, program_.image_size()};
  }

 private:
  float* images() { return images_.size() > 0 ? images_.data() : parameters_.data(); }
  const float* images() const { return images_.size() > 0 ? images_.data() : parameters_.data(); }
  float* gradients() { return gradients_.size() > 0 ? gradients_.data() : canvas_gradients_.data(); }
  int count() const { return static_cast<int>(filters_.size()); }
  // Row `i` of an array with `size` floats for each image.
  static std::span<float> row(float* values, std::size_t size, int i) { return {values + size * i, size}; }

  const StageProgram& program_;
  std::vector<FilterId> filters_;
  AlignedBuffer<float> parameters_;
  AlignedBuffer<float> states_;
  AlignedBuffer<float> images_;    // None if the parameters are the images.
  AlignedBuffer<float> canvases_;  // None if the network sees the images.
  AlignedBuffer<float> canvas_gradients_;
  AlignedBuffer<float> gradients_;  // None if the canvases' gradients are the parameters'.
  AlignedBuffer<float> scratch_;    // Images; none if no operation needs it.
};

}  // namespace filterscope::cpu
