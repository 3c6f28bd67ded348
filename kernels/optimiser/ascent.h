#pragma once

#include <cstdint>

#include "../common/types.h"

/// What happens to images and losses between two passes through the network. Everything is fp32 and belongs
/// to one image alone. Arrays are 16-byte aligned.
namespace filterscope::kernels {

/// Where an image's ascent stands.
enum class AscentStatus : int {
  climbing = 0,
  dead = 1,  ///< Its gradient became exactly zero, and the image no longer changes; or all of its steps are
             ///< taken, and no position is above zero.
  nonfinite = 2,  ///< Its loss or gradient stopped being finite; the image is the last finite one.
};

/// The state of a batch's ascents, in device memory; one element per image unless stated.
struct AscentState {
  AscentStatus* status;
  int* steps;             ///< Taken so far.
  float* first_losses;    ///< Of the initial images.
  float* losses;          ///< The last ones found.
  float* gradient_norms;  ///< Of the last gradients.
  int* inactive;          ///< Iterations that found no position above zero.
  int* alive_from;        ///< The iteration after the last of those; 0: there was none.
  int* iteration;         ///< One for the batch: iterations whose losses have been recorded.
};

/// climbing, no steps, iteration 0; all else 0.
void start_ascent(const AscentState& state, int images_count, cudaStream_t stream);

struct LossTraceArguments {
  const float* sums;     ///< [images][kFilterHeadParts]: as the filter heads wrote them.
  const float* weights;  ///< [images] What the sums add up to a loss with: 1 / positions.
  AscentState state;
  float* trace;     ///< Out. [iterations / trace_every][images]: row i / trace_every - 1 of every iteration i
                    ///< that trace_every divides. May be null if there is none.
  int trace_every;  ///< 0: these are the losses of the finished images, which are no iteration.
  int* progress;    ///< Out. The iteration, also here: memory that the host sees. May be null.
  int images_count;
};

/// Losses of this iteration: adds up sums (in a fixed order), counts the iteration, records losses, trace and
/// whether no position was above zero. An image whose loss is not finite stops climbing; one that does not
/// climb keeps its last loss, also in the trace. A finished image without a position above zero is dead.
void loss_trace(const LossTraceArguments& arguments, cudaStream_t stream);

struct NormaliseAndStepArguments {
  float* images;           ///< In and out. [images][values_per_image]
  const float* gradients;  ///< [images][values_per_image]
  const float* squares;    ///< [images][parts] Sums of squares of gradients, to be added up.
  int parts;
  float step;
  float epsilon;
  AscentState state;
  int images_count;
  int values_per_image;
};

/// image += step * gradient / sqrt(max(sum of squares, epsilon)) for every image that climbs; one whose
/// gradient is zero or not finite stops climbing and stays as it is. The norm is sqrt(sum of squares).
void normalise_and_step(const NormaliseAndStepArguments& arguments, cudaStream_t stream);

struct EncodeArguments {
  const float* images;     ///< [images][values_per_image]
  std::uint8_t* pictures;  ///< Out. [images][values_per_image]
  int images_count;
  int values_per_image;
};

/// round(255 * (x - min) / (max - min)), halves up, with one minimum and maximum per image; a constant image
/// is black. The same bytes as the CPU engine's.
void encode(const EncodeArguments& arguments, cudaStream_t stream);

}  // namespace filterscope::kernels
