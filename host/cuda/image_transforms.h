#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>

#include "../ascent/recipe.h"
#include "kernels/common/philox.h"
#include "kernels/image/affine_map.h"
#include "kernels/optimiser/ascent_state.h"
#include "runtime.h"

namespace filterscope::cuda {

/// The images whose transforms are drawn: arrays on the device, [images].
struct ImageIds {
  const int* layers;
  const int* filters;
};

/// The random transforms of a batch of images on the device: draws and warps. Images, canvases and their
/// gradients are [images][height][width][3]. Work is only enqueued.
class ImageTransforms {
 public:
  /// `stream` says which draws. Throws OutOfMemory.
  ImageTransforms(const Transforms& transforms, RandomStream stream, std::uint64_t seed, Extent image,
                  Extent canvas, int images);
  static std::size_t bytes(const Transforms& transforms, int images);

  /// Warps images by the transforms of the iteration after those that `state` has counted, in one sampling.
  void show(const kernels::AscentState& state, const ImageIds& ids, const float* images, float* canvases,
            cudaStream_t stream) const;
  /// Warps without random transforms.
  void show_at_rest(const float* images, float* canvases, cudaStream_t stream) const;
  /// The adjoint of the last show().
  void adjoint(const float* canvas_gradients, float* image_gradients, cudaStream_t stream) const;
  /// Changes images that climb by each transform of that iteration in turn, one sampling each. Canvases are
  /// as large as images; `scratch` holds images.
  void keep(const kernels::AscentState& state, const ImageIds& ids, float* images, float* scratch,
            cudaStream_t stream) const;

 private:
  void draw(const kernels::AscentState& state, const ImageIds& ids, bool separate, cudaStream_t stream) const;
  void warp(const float* images, float* canvases, const kernels::AffineMap* maps,
            const kernels::AscentStatus* status, Border border, cudaStream_t stream) const;

  Transforms transforms_;
  Extent image_;
  Extent canvas_;
  int count_;
  DeviceBuffer<float> choices_;
  DeviceBuffer<kernels::AffineMap> maps_;  // [transforms][images]: one, or each.
  kernels::DrawMapsArguments draws_;       // Without what a call gives.
};

}  // namespace filterscope::cuda
