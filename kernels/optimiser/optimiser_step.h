#pragma once

#include "../common/types.h"
#include "ascent_state.h"

namespace filterscope::kernels {

/// How a gradient is normalised, over all values of one image.
struct NormalisationRule {
  enum class Kind {
    none,
    l2,   ///< Divided by the root of the sum of squares.
    rms,  ///< Divided by the root of their mean.
  };
  Kind kind = Kind::l2;
  float epsilon = 0.f;
  bool epsilon_added = false;  ///< To the root; otherwise the sum or mean is at least epsilon.
};

/// How the normalised gradient g changes the parameters x.
struct OptimiserRule {
  enum class Kind {
    ascent,    ///< x += step * g.
    momentum,  ///< v = momentum * v + g; x += step * v.
    adam,      ///< D. P. Kingma, J. Ba, ICLR 2015, algorithm 1.
    rmsprop,   ///< v = rho * v + (1 - rho) * g^2; x += step * g / sqrt(v + epsilon).
  };
  Kind kind = Kind::ascent;
  float step = 0.f;
  float momentum = 0.f;
  float beta1 = 0.f;
  float beta2 = 0.f;
  float rho = 0.f;
  float epsilon = 0.f;
  float weight_decay = 0.f;  ///< Times x, subtracted from g.
  float decay = 0.f;         ///< The share that parameters lose after the step.
  bool clips = false;        ///< Then they are brought into [low, high].
  float low = 0.f;
  float high = 0.f;
};

/// Each image is processed independently, in fp32. Arrays are 16-byte aligned.
struct OptimiserStepArguments {
  float* parameters;       ///< In and out. [images][values_per_image]
  const float* gradients;  ///< [images][values_per_image]
  const float* squares;    ///< [images][parts] Partial sums of the squares of gradients.
  int parts;
  float* first;  ///< In and out. [images][values_per_image] v of momentum, rmsprop; the first moment of adam.
  float* second;  ///< In and out. [images][values_per_image] The second moment of adam.
  NormalisationRule normalisation;
  OptimiserRule optimiser;
  /// A zero gradient ends the ascent, since nothing else moves the image. Otherwise it is a step like others.
  bool stops_when_still;
  int earlier;  ///< Iterations of earlier stages: adam's steps count from them.
  AscentState state;
  int images_count;
  int values_per_image;
};

/// One step of every image that climbs. An image whose loss or gradient is not finite stops climbing and
/// remains unchanged, as does one whose gradient is zero if stops_when_still. The norm recorded is sqrt(sum
/// of squares). Throws LaunchError.
void optimiser_step(const OptimiserStepArguments& arguments, cudaStream_t stream);

}  // namespace filterscope::kernels
