#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>
#include <memory>
#include <span>

#include "../ascent/recipe.h"
#include "../model/network.h"
#include "../run/batch.h"
#include "../run/filter_gradient.h"
#include "device_weights.h"
#include "plan/plan.h"

namespace filterscope::cuda {

/// Device memory that the network's passes read and write, owned by the caller; one element per image unless
/// stated.
struct PassArguments {
  const float* images = nullptr;  ///< [images][height][width][3]
  const int* filters = nullptr;   ///< Target filter, a number in the image's target layer.
  float* sums = nullptr;       ///< Out of forward(). [images][kernels::kFilterHeadParts]: to be weighted with
                               ///< loss_weights().
  float* gradients = nullptr;  ///< Out. [images][height][width][3]: of the loss, with respect to the image.
  float* squares =
      nullptr;  ///< Out. [images][kernels::image_gradient_parts()]: sums of squares of `gradients`.
};

/// The network on the device for the images of one layout: what lies between images and losses, and back.
/// Keeps only masks between forward and backward pass, and computes one channel of each target layer.
/// Enqueues and never waits; everything can be captured into a graph.
class NetworkPasses {
 public:
  virtual ~NetworkPasses() = default;
  virtual const Plan& plan() const = 0;
  /// What the sums of each image add up to its loss with: 1 / positions of its target layer. [images], on the
  /// device.
  virtual const float* loss_weights() const = 0;
  virtual std::size_t device_bytes() const = 0;

  /// Sums of the responses: all of an image's are zero exactly where no position is above zero.
  virtual void forward(const PassArguments& arguments, cudaStream_t stream) = 0;
  /// Gradients of the losses that forward() found last, from its sums, too: if the recipe rescues, that of an
  /// image whose sums are all zero is the gradient of the mean before the ReLU.
  virtual void backward(const PassArguments& arguments, cudaStream_t stream) = 0;

  /// What forward() kept of image number `image`, copied to the host. The device must be done with it.
  virtual GradientMasks masks(int image) const = 0;
};

/// Memory for `plan`; throws OutOfMemory. References but `recipe` must outlive the passes, which follow the
/// recipe's input_mapping and rescue.
std::unique_ptr<NetworkPasses> make_passes(const Network& network, const Recipe& recipe, Precision precision,
                                           DeviceWeights& weights, Plan plan);

/// Device memory of the passes for `layout`, without workspace, if every mask but the first layer's is kept
/// as `mask`.
std::size_t passes_bytes(const Network& network, Extent image, Precision precision, const BatchLayout& layout,
                         MaskFormat mask);

}  // namespace filterscope::cuda
