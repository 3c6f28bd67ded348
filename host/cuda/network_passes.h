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

/// Device memory that the passes read and write, owned by the caller; one element per image unless stated.
struct PassArguments {
  const float* images = nullptr;  ///< [images][height][width][3]
  const int* filters = nullptr;   ///< Target filter: its number in the image's target layer.
  float* sums = nullptr;  ///< Written by forward(). [images][kernels::kFilterHeadParts]: to be weighted with
                          ///< loss_weights().
  float* gradients = nullptr;  ///< Written by backward(). [images][height][width][3]: of the loss, with
                               ///< respect to the image.
  float* squares = nullptr;    ///< Written by backward(). [images][kernels::image_gradient_parts()]: sums of
                               ///< squares of `gradients`.
};

/// The forward and backward passes of the network on the device, for batches of one layout. Keeps only masks
/// in between, and computes one channel of each target layer. Work is only enqueued, and can be captured into
/// a graph.
class NetworkPasses {
 public:
  virtual ~NetworkPasses() = default;
  virtual const Plan& plan() const = 0;
  /// [images], on the device: what each image's sums are multiplied with to give its loss, 2^range / counted
  /// positions of its target layer.
  virtual const float* loss_weights() const = 0;
  virtual std::size_t device_bytes() const = 0;

  /// Sums of the responses that the objective counts. After the ReLU, all sums of an image are zero exactly
  /// if no such position is above zero.
  virtual void forward(const PassArguments& arguments, cudaStream_t stream) = 0;
  /// Gradients of the losses of the last forward(), whose sums it reads too: if the objective rescues, an
  /// image whose sums are all zero gets the gradient of the mean before the ReLU. Negative gradients if the
  /// objective minimises.
  virtual void backward(const PassArguments& arguments, cudaStream_t stream) = 0;

  /// The masks that forward() kept for image number `image`, copied to the host. The device must have
  /// finished it.
  virtual GradientMasks masks(int image) const = 0;
};

/// Allocates the memory for `plan`; throws OutOfMemory. References except `stage`, whose input_mapping and
/// objective are used, must outlive the passes. Maps are kept 2^-`range` times as large as they are: a
/// network of convolutions, ReLUs and pools is positively homogeneous, so that input and biases times
/// 2^-range give every map times 2^-range. Losses and gradients do not change.
std::unique_ptr<NetworkPasses> make_passes(const Network& network, const Stage& stage, Precision precision,
                                           DeviceWeights& weights, Plan plan, int range = 0);

/// Device memory of the passes for `layout`, without workspace, if every mask but the first layer's has
/// format `mask`.
std::size_t passes_bytes(const Network& network, Extent image, Precision precision, const BatchLayout& layout,
                         MaskFormat mask);

}  // namespace filterscope::cuda
