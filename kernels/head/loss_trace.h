#pragma once

#include "../common/types.h"
#include "../optimiser/ascent_state.h"

/// The state of a batch at its start, and its losses after each forward pass. Arrays are 16-byte aligned.
namespace filterscope::kernels {

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

}  // namespace filterscope::kernels
