// The random transforms of an iteration, composed into one map per image.
//
// Floor: 24 bytes written per image. Drawn on the device, so that an iteration asks nothing of the host and
// can be replayed as a graph; drawn once, before the warp, so that the warp's threads and, later, its
// adjoint's load six numbers each instead of calling the generator.
#include "../common/global.h"
#include "../common/launch.h"
#include "affine_map.h"

namespace filterscope::kernels {
namespace {

constexpr int kThreads = 64;

struct TransformList {
  RandomTransform list[kMostTransforms];
};

// `count` times the word as a number in [0, 1), rounded down.
__device__ std::uint32_t scaled(std::uint32_t word, int count) {
  return __umulhi(word, static_cast<std::uint32_t>(count));
}

__device__ float draw(const RandomTransform& transform, Global<const float> choices, std::uint32_t word) {
  if (transform.choices_count > 0)
    return choices.load(transform.first_choice + static_cast<int>(scaled(word, transform.choices_count)));
  return __fadd_rn(transform.low, __fmul_rn(transform.high - transform.low, to_unit_float(word)));
}

// What the transform shows at a position of its output is its input at matrix * position + shift.
__device__ AffineMap inverse_of(const RandomTransform& transform, Global<const float> choices,
                                const Philox::Counter& words) {
  AffineMap map;
  switch (transform.kind) {
    case RandomTransform::Kind::none:
      break;
    case RandomTransform::Kind::jitter:
      for (int axis = 0; axis < 2; ++axis) {
        const int drawn = static_cast<int>(scaled(words.words[axis], transform.pixels));
        map.shift[axis] = static_cast<float>(transform.pixels / 2 - drawn);
      }
      break;
    case RandomTransform::Kind::scale:
      map.matrix[0][0] = map.matrix[1][1] = 1 / draw(transform, choices, words.words[0]);
      break;
    case RandomTransform::Kind::rotate: {
      // y points down, so that a position turns the other way than its content is displayed to.
      const float half_turns = draw(transform, choices, words.words[0]) / 180;
      map.matrix[0][0] = map.matrix[1][1] = cospif(half_turns);
      map.matrix[0][1] = sinpif(half_turns);
      map.matrix[1][0] = -map.matrix[0][1];
      break;
    }
    case RandomTransform::Kind::flip:
      if (words.words[0] >> 31 != 0) map.matrix[1][1] = -1;
      break;
  }
  return map;
}

// outer(inner(position)).
__device__ AffineMap composed(const AffineMap& outer, const AffineMap& inner) {
  AffineMap map;
#pragma unroll
  for (int i = 0; i < 2; ++i) {
#pragma unroll
    for (int j = 0; j < 2; ++j)
      map.matrix[i][j] = outer.matrix[i][0] * inner.matrix[0][j] + outer.matrix[i][1] * inner.matrix[1][j];
    map.shift[i] = outer.matrix[i][0] * inner.shift[0] + outer.matrix[i][1] * inner.shift[1] + outer.shift[i];
  }
  return map;
}

__global__ void __launch_bounds__(kThreads)
    draw_maps_kernel(const __grid_constant__ TransformList transforms, int transforms_count,
                     Global<const float> choices, RandomStream stream, std::uint64_t seed,
                     Global<const int> layers, Global<const int> filters, Global<const int> iteration,
                     Global<AffineMap> maps, bool separate, int images_count) {
  const int image = static_cast<int>(blockIdx.x * kThreads + threadIdx.x);
  if (image >= images_count) return;
  const auto layer = static_cast<std::uint32_t>(layers.load(image));
  const auto filter = static_cast<std::uint32_t>(filters.load(image));
  const std::uint32_t first = static_cast<std::uint32_t>(iteration.load(0) + 1) * kMostTransforms;
  AffineMap all;
  // From the canvas back to the image, the last transform is undone first.
  for (int i = 0; i < transforms_count; ++i) {
    const AffineMap one =
        inverse_of(transforms.list[i], choices,
                   random_block(seed, stream, layer, filter, first + static_cast<std::uint32_t>(i)));
    if (separate) maps.store(std::int64_t{i} * images_count + image, one);
    all = composed(all, one);
  }
  if (!separate) maps.store(image, all);
}

}  // namespace

void draw_maps(const DrawMapsArguments& arguments, cudaStream_t stream) {
  TransformList transforms;
  for (int i = 0; i < kMostTransforms; ++i) transforms.list[i] = arguments.transforms[i];
  launch("draw_maps", draw_maps_kernel,
         {dim3(static_cast<unsigned>(ceil_div(arguments.images_count, kThreads))), dim3(kThreads)}, stream,
         transforms, arguments.transforms_count, arguments.choices, arguments.stream, arguments.seed,
         arguments.layers, arguments.filters, arguments.iteration, arguments.maps, arguments.separate,
         arguments.images_count);
}

}  // namespace filterscope::kernels
