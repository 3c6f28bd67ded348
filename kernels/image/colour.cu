// Colour and range of images: a 3 x 3 matrix for each position and a sigmoid, forth, back, and for gradients.
//
// Floor: one array read and another written, 8 bytes per value, for at most six multiplications and an
// exponential; the adjoint reads the image as well, 12 bytes. The kernels also change between planar values,
// which Fourier transforms want, and the pixels of three channels that the network reads, so that this takes
// no pass of its own.
#include "../common/global.h"
#include "../common/launch.h"
#include "colour.h"

namespace filterscope::kernels {
namespace {

constexpr int kThreads = 256;
// The argument of the sigmoid's inverse keeps this distance from 0 and 1.
constexpr float kLogitMargin = 0x1p-10f;

enum class Direction { forward, adjoint, inverse };

template <Direction kDirection>
__device__ void map_pixel(const ColourMap& map, const float (&in)[3], const float (&image)[3],
                          float (&out)[3]) {
  float own[3];
#pragma unroll
  for (int c = 0; c < 3; ++c) {
    own[c] = in[c];
    if (kDirection == Direction::adjoint && map.sigmoid) own[c] *= image[c] * (1 - image[c]);
    if (kDirection == Direction::inverse) {
      if (map.sigmoid) {
        const float inside = min(max(own[c], kLogitMargin), 1 - kLogitMargin);
        own[c] = logf(inside / (1 - inside));
      }
      own[c] -= map.offset[c];
    }
  }
#pragma unroll
  for (int row = 0; row < 3; ++row) {
    float sum = 0;
#pragma unroll
    for (int column = 0; column < 3; ++column) {
      const float factor =
          kDirection == Direction::adjoint ? map.matrix[column][row] : map.matrix[row][column];
      sum += factor * own[column];
    }
    if (kDirection == Direction::forward) {
      sum += map.offset[row];
      if (map.sigmoid) sum = 1 / (1 + expf(-sum));
    }
    out[row] = sum;
  }
}

template <Direction kDirection, ValueLayout kLayout>
__global__ void __launch_bounds__(kThreads)
    colour_kernel(Global<const float> in, Global<float> out, Global<const float> images, ColourMap map,
                  int positions) {
  const int position = static_cast<int>(blockIdx.x * kThreads + threadIdx.x);
  if (position >= positions) return;
  const std::int64_t begin = std::int64_t{blockIdx.y} * 3 * positions;
  const auto image_at = [&](int c) { return begin + std::int64_t{position} * 3 + c; };
  const auto value_at = [&](int c) {
    return kLayout == ValueLayout::planar ? begin + std::int64_t{c} * positions + position : image_at(c);
  };
  constexpr bool kForward = kDirection == Direction::forward;
  float from[3];
  float image[3] = {};
  float to[3];
#pragma unroll
  for (int c = 0; c < 3; ++c) {
    from[c] = in.load(kForward ? value_at(c) : image_at(c));
    if (kDirection == Direction::adjoint && map.sigmoid) image[c] = images.load(image_at(c));
  }
  map_pixel<kDirection>(map, from, image, to);
#pragma unroll
  for (int c = 0; c < 3; ++c) out.store(kForward ? image_at(c) : value_at(c), to[c]);
}

template <Direction kDirection>
void launch_colour(const char* name, const ColourArguments& arguments, cudaStream_t stream) {
  const auto kernel = arguments.layout == ValueLayout::planar
                          ? colour_kernel<kDirection, ValueLayout::planar>
                          : colour_kernel<kDirection, ValueLayout::interleaved>;
  const int blocks = ceil_div(arguments.positions, kThreads);
  launch(name, kernel,
         {dim3(static_cast<unsigned>(blocks), static_cast<unsigned>(arguments.images_count)), dim3(kThreads)},
         stream, arguments.in, arguments.out, arguments.images, arguments.map, arguments.positions);
}

}  // namespace

void colour_forward(const ColourArguments& arguments, cudaStream_t stream) {
  launch_colour<Direction::forward>("colour_forward", arguments, stream);
}

void colour_adjoint(const ColourArguments& arguments, cudaStream_t stream) {
  launch_colour<Direction::adjoint>("colour_adjoint", arguments, stream);
}

void colour_inverse(const ColourArguments& arguments, cudaStream_t stream) {
  launch_colour<Direction::inverse>("colour_inverse", arguments, stream);
}

}  // namespace filterscope::kernels
