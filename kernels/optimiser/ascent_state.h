#pragma once

namespace filterscope::kernels {

/// The status of an image's ascent.
enum class AscentStatus : int {
  climbing = 0,
  dead = 1,  ///< The gradient became exactly zero and the image no longer changes; or all steps are taken and
             ///< no position is above zero.
  nonfinite = 2,  ///< The loss or gradient ceased to be finite; the image is the last finite one.
};

/// The state of a batch's ascents, in device memory; one element per image unless stated.
struct AscentState {
  AscentStatus* status;
  int* steps;             ///< Steps taken so far.
  float* first_losses;    ///< Losses of the initial images.
  float* losses;          ///< The latest losses.
  float* gradient_norms;  ///< Norms of the latest gradients.
  int* inactive;          ///< Number of iterations without a position above zero.
  int* alive_from;        ///< The iteration after the last of those; 0: none.
  int* iteration;         ///< One per batch: number of iterations whose losses have been recorded.
};

}  // namespace filterscope::kernels
