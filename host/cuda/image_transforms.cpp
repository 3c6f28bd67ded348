#include "image_transforms.h"

#include <span>
#include <vector>

#include "kernels/image/warp.h"
#include "stage_arguments.h"

namespace filterscope::cuda {

ImageTransforms::ImageTransforms(const Transforms& transforms, RandomStream stream, std::uint64_t seed,
                                 Extent image, Extent canvas, int images)
    : transforms_(transforms),
      image_(image),
      canvas_(canvas),
      count_(images),
      maps_(transforms.list.size() * images) {
  std::vector<float> choices;
  draws_ = draw_arguments(transforms, choices);
  choices_ = DeviceBuffer<float>(std::span<const float>(choices));
  draws_.choices = choices_.data();
  draws_.stream = stream;
  draws_.seed = seed;
  draws_.maps = maps_.data();
  draws_.images_count = images;
}

std::size_t ImageTransforms::bytes(const Transforms& transforms, int images) {
  std::size_t bytes = transforms.list.size() * images * sizeof(kernels::AffineMap);
  for (const Transform& transform : transforms.list) bytes += transform.draw.choices.size() * sizeof(float);
  return bytes;
}

void ImageTransforms::show(const kernels::AscentState& state, const ImageIds& ids, const float* images,
                           float* canvases, cudaStream_t stream) const {
  draw(state, ids, false, stream);
  warp(images, canvases, maps_.data(), nullptr, transforms_.border, stream);
}

void ImageTransforms::show_at_rest(const float* images, float* canvases, cudaStream_t stream) const {
  warp(images, canvases, nullptr, nullptr, transforms_.border, stream);
}

void ImageTransforms::adjoint(const float* canvas_gradients, float* image_gradients,
                              cudaStream_t stream) const {
  kernels::warp_adjoint({.canvas_gradients = canvas_gradients,
                         .image_gradients = image_gradients,
                         .maps = maps_.data(),
                         .images_count = count_,
                         .image_height = image_.height,
                         .image_width = image_.width,
                         .canvas_height = canvas_.height,
                         .canvas_width = canvas_.width},
                        stream);
}

void ImageTransforms::keep(const kernels::AscentState& state, const ImageIds& ids, float* images,
                           float* scratch, cudaStream_t stream) const {
  draw(state, ids, true, stream);
  const std::size_t bytes = static_cast<std::size_t>(image_.positions()) * 3 * count_ * sizeof(float);
  for (std::size_t i = 0; i < transforms_.list.size(); ++i) {
    check(cudaMemcpyAsync(scratch, images, bytes, cudaMemcpyDeviceToDevice, stream), "copying images");
    warp(scratch, images, maps_.data() + i * count_, state.status,
         transforms_.list[i].border.value_or(transforms_.border), stream);
  }
}

void ImageTransforms::draw(const kernels::AscentState& state, const ImageIds& ids, bool separate,
                           cudaStream_t stream) const {
  kernels::DrawMapsArguments arguments = draws_;
  arguments.layers = ids.layers;
  arguments.filters = ids.filters;
  arguments.iteration = state.iteration;
  arguments.separate = separate;
  kernels::draw_maps(arguments, stream);
}

void ImageTransforms::warp(const float* images, float* canvases, const kernels::AffineMap* maps,
                           const kernels::AscentStatus* status, Border border, cudaStream_t stream) const {
  kernels::warp({.images = images,
                 .canvases = canvases,
                 .maps = maps,
                 .status = status,
                 .border = warp_border(border),
                 .value = transforms_.value,
                 .images_count = count_,
                 .image_height = image_.height,
                 .image_width = image_.width,
                 .canvas_height = canvas_.height,
                 .canvas_width = canvas_.width},
                stream);
}

}  // namespace filterscope::cuda
