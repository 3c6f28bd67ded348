#pragma once

#include "../common/types.h"
#include "../optimiser/ascent_state.h"

/// A batch's state at its start, and its losses after each forward pass. Arrays are 16-byte aligned.
namespace filterscope::kernels {

/// Initialises the state: climbing, no steps, iteration 0, all else 0. Throws LaunchError.
void start_ascent(const AscentState& state, int images_count, cudaStream_t stream);
/// The state at the start of a later stage: images that were dead climb again, since their larger image may
/// have a gradient. All else goes on. Throws LaunchError.
void continue_ascent(const AscentState& state, int images_count, cudaStream_t stream);

struct LossTraceArguments {
  const float* sums;     ///< [images][kFilterHeadParts]: as the filter heads wrote them.
  const float* weights;  ///< [images] Factor from an image's sum to its loss: 1 / positions.
  AscentState state;
  float* trace;  ///< Out. [iterations / trace_every][images]: row i / trace_every - 1 holds iteration i, for
                 ///< each multiple of trace_every. May be null if there is none.
  int trace_every;  ///< 0: these are the losses of the finished images, not of an iteration.
  int* progress;    ///< Out. The iteration, in memory that the host can read. May be null.
  int images_count;
  bool before_relu = false;  ///< The sums are of responses before the ReLU, which do not tell who is dead.
};

/// The losses of this iteration: adds up the sums (in a fixed order), counts the iteration, records losses
/// and trace, and counts the images without a position above zero as inactive. An image whose loss is not
/// finite stops climbing; one that does not climb keeps its last loss, also in the trace. A finished image
/// without a position above zero is dead; before the ReLU, none is. Throws LaunchError.
void loss_trace(const LossTraceArguments& arguments, cudaStream_t stream);

}  // namespace filterscope::kernels
