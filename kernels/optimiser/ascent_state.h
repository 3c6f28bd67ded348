#pragma once

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

}  // namespace filterscope::kernels
