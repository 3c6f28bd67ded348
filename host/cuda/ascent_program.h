#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>
#include <memory>

#include "../ascent/recipe.h"
#include "kernels/optimiser/ascent_state.h"

namespace filterscope::cuda {

/// What a stage does around the network's passes, on the device, for the images of a batch: the counterpart
/// of StageProgram. It owns parameters, images, canvases, gradients and the optimiser's state; where
/// parameters, images and canvases are the same, they share memory. Work is only enqueued, and what is said
/// to be part of an iteration can be captured into a graph.
class AscentProgram {
 public:
  virtual ~AscentProgram() = default;

  /// Draws the start images. `layers` and `filters`, [images], say whose they are, on the device, and must
  /// stay valid: later draws read them.
  virtual void start(const int* layers, const int* filters, cudaStream_t stream) = 0;
  /// Starts from given images of the stage's extent, [images][height][width][3] on the device, instead.
  virtual void start_from(const float* images, const int* layers, const int* filters,
                          cudaStream_t stream) = 0;
  /// Starts from the images that the stage before ended with, as show_at_rest() made them.
  virtual void start_after(const AscentProgram& before, const int* layers, const int* filters,
                           cudaStream_t stream) = 0;

  /// Part of an iteration: images and canvases of the iteration after those that `state` has counted.
  virtual void show(const kernels::AscentState& state, cudaStream_t stream) = 0;
  /// Images as they are now, and canvases without random transforms.
  virtual void show_at_rest(cudaStream_t stream) = 0;
  /// What the passes read, and where they leave gradients and the sums of their squares:
  /// [images][canvas height][canvas width][3], [images][image_gradient_parts(canvas)].
  virtual const float* canvases() const = 0;
  virtual float* canvas_gradients() = 0;
  virtual float* squares() = 0;
  /// Part of an iteration, after its losses were recorded: from the canvases' gradients to the step of every
  /// image that climbs.
  virtual void step(const kernels::AscentState& state, cudaStream_t stream) = 0;

  /// [images][height][width][3]: as show() or show_at_rest() made them.
  virtual const float* images() const = 0;
  virtual Extent extent() const = 0;
  /// The images as 8-bit pictures of `recipe`, [images][picture height][picture width][3] on the device. An
  /// image of an earlier stage is resampled to the last stage's extent first.
  virtual void encode(std::uint8_t* pictures, cudaStream_t stream) = 0;
};

/// The program of stage number `stage` of `recipe`. Allocates its memory; throws OutOfMemory, and a device
/// Error if the stage needs cuFFT and it cannot be loaded.
std::unique_ptr<AscentProgram> make_ascent_program(const Recipe& recipe, std::size_t stage,
                                                   std::uint64_t seed, int images);

/// Upper bound of its device memory.
std::size_t program_bytes(const Recipe& recipe, std::size_t stage, int images);

}  // namespace filterscope::cuda
