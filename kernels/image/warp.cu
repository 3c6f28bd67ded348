// Bilinear samples of images under affine maps, and their adjoint.
//
// Floor: image and canvas once each, 24 bytes per position. The four pixels of a sample are shared with the
// samples of neighbouring threads and come from the cache. The adjoint could scatter each canvas position to
// four pixels, but only with atomics, whose order changes the last bits. Instead each pixel looks at the
// canvas positions around its own place there that may have used it, 4 to 9 for maps near the identity, and
// computes their weights again, which needs no memory. Both kernels round a place alike, so that they agree
// on weights.
#include "../common/global.h"
#include "../common/launch.h"
#include "warp.h"

namespace filterscope::kernels {
namespace {

constexpr int kThreads = 256;
// In pixels; errors of places are far smaller.
constexpr float kRounding = 0.01f;

struct Size {
  int height;
  int width;
  __host__ __device__ int positions() const { return height * width; }
};

// A position of the canvas in the image, split into the pixel above and left of it and the distance to that.
struct Place {
  int y;
  int x;
  float down;
  float right;
};

class Placement {
 public:
  __device__ Placement(const AffineMap& map, Size image, Size canvas)
      : map_(map),
        canvas_y_(0.5f * static_cast<float>(canvas.height - 1)),
        canvas_x_(0.5f * static_cast<float>(canvas.width - 1)),
        image_y_(0.5f * static_cast<float>(image.height - 1)),
        image_x_(0.5f * static_cast<float>(image.width - 1)) {}

  __device__ Place operator()(int y, int x) const {
    const float v = static_cast<float>(y) - canvas_y_;
    const float u = static_cast<float>(x) - canvas_x_;
    const float at_y = __fadd_rn(along(0, v, u), image_y_);
    const float at_x = __fadd_rn(along(1, v, u), image_x_);
    const float above = floorf(at_y);
    const float left = floorf(at_x);
    return {static_cast<int>(above), static_cast<int>(left), at_y - above, at_x - left};
  }

  struct Region {
    int top, left, bottom, right;
  };
  // The canvas positions that may lie less than a pixel from an image's pixel, without bounds.
  __device__ Region around(int y, int x) const {
    const float(&m)[2][2] = map_.matrix;
    const float inverse = 1 / (m[0][0] * m[1][1] - m[0][1] * m[1][0]);
    const float v = static_cast<float>(y) - image_y_ - map_.shift[0];
    const float u = static_cast<float>(x) - image_x_ - map_.shift[1];
    const float centre_y = (m[1][1] * v - m[0][1] * u) * inverse + canvas_y_;
    const float centre_x = (m[0][0] * u - m[1][0] * v) * inverse + canvas_x_;
    const float reach_y = (fabsf(m[1][1]) + fabsf(m[0][1])) * fabsf(inverse) + kRounding;
    const float reach_x = (fabsf(m[1][0]) + fabsf(m[0][0])) * fabsf(inverse) + kRounding;
    return {static_cast<int>(ceilf(centre_y - reach_y)), static_cast<int>(ceilf(centre_x - reach_x)),
            static_cast<int>(floorf(centre_y + reach_y)), static_cast<int>(floorf(centre_x + reach_x))};
  }

 private:
  // Rounded after each operation, as on the host.
  __device__ float along(int row, float v, float u) const {
    const float sum = __fadd_rn(__fmul_rn(map_.matrix[row][0], v), __fmul_rn(map_.matrix[row][1], u));
    return __fadd_rn(sum, map_.shift[row]);
  }

  AffineMap map_;
  float canvas_y_, canvas_x_, image_y_, image_x_;
};

// The pixel of an image of `size` that stands for coordinate `at`, which may lie outside; -1: none.
__device__ int pixel(WarpBorder border, int at, int size) {
  if (at >= 0 && at < size) return at;
  switch (border) {
    case WarpBorder::constant:
      return -1;
    case WarpBorder::edge:
      return min(max(at, 0), size - 1);
    case WarpBorder::reflect: {
      const int period = (at % (2 * size) + 2 * size) % (2 * size);
      return period < size ? period : 2 * size - 1 - period;
    }
    case WarpBorder::wrap:
      break;
  }
  return (at % size + size) % size;
}

__global__ void __launch_bounds__(kThreads)
    warp_kernel(Global<const float> images, Global<float> canvases, Global<const AffineMap> maps,
                Global<const AscentStatus> status, WarpBorder border, float value, Size size, Size canvas) {
  const int image = static_cast<int>(blockIdx.y);
  const int position = static_cast<int>(blockIdx.x * kThreads + threadIdx.x);
  if (position >= canvas.positions()) return;
  if (status && status.load(image) != AscentStatus::climbing) return;
  const Placement placement(maps ? maps.load(image) : AffineMap{}, size, canvas);
  const Place place = placement(position / canvas.width, position % canvas.width);
  float sums[3] = {0, 0, 0};
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const int row = pixel(border, place.y + i, size.height);
#pragma unroll
    for (int j = 0; j < 2; ++j) {
      const int column = pixel(border, place.x + j, size.width);
      const float weight = (i == 0 ? 1 - place.down : place.down) * (j == 0 ? 1 - place.right : place.right);
      // What counts nothing is not read: it may not be finite.
      if (weight == 0.f) continue;
      const bool inside = row >= 0 && column >= 0;
      const std::int64_t from =
          inside ? (std::int64_t{image} * size.positions() + std::int64_t{row} * size.width + column) * 3 : 0;
#pragma unroll
      for (int c = 0; c < 3; ++c) sums[c] += weight * (inside ? images.load(from + c) : value);
    }
  }
  const std::int64_t to = (std::int64_t{image} * canvas.positions() + position) * 3;
#pragma unroll
  for (int c = 0; c < 3; ++c) canvases.store(to + c, sums[c]);
}

__global__ void __launch_bounds__(kThreads)
    warp_adjoint_kernel(Global<const float> canvas_gradients, Global<float> image_gradients,
                        Global<const AffineMap> maps, Size size, Size canvas) {
  const int image = static_cast<int>(blockIdx.y);
  const int position = static_cast<int>(blockIdx.x * kThreads + threadIdx.x);
  if (position >= size.positions()) return;
  const int y = position / size.width;
  const int x = position % size.width;
  const Placement placement(maps.load(image), size, canvas);
  const Placement::Region region = placement.around(y, x);
  float sums[3] = {0, 0, 0};
  for (int row = max(region.top, 0); row <= min(region.bottom, canvas.height - 1); ++row) {
    for (int column = max(region.left, 0); column <= min(region.right, canvas.width - 1); ++column) {
      const Place place = placement(row, column);
      const int i = y - place.y;
      const int j = x - place.x;
      if (i < 0 || i > 1 || j < 0 || j > 1) continue;
      const float weight = (i == 0 ? 1 - place.down : place.down) * (j == 0 ? 1 - place.right : place.right);
      const std::int64_t from =
          (std::int64_t{image} * canvas.positions() + std::int64_t{row} * canvas.width + column) * 3;
#pragma unroll
      for (int c = 0; c < 3; ++c) sums[c] += weight * canvas_gradients.load(from + c);
    }
  }
  const std::int64_t to = (std::int64_t{image} * size.positions() + position) * 3;
#pragma unroll
  for (int c = 0; c < 3; ++c) image_gradients.store(to + c, sums[c]);
}

}  // namespace

void warp(const WarpArguments& arguments, cudaStream_t stream) {
  const Size size{arguments.image_height, arguments.image_width};
  const Size canvas{arguments.canvas_height, arguments.canvas_width};
  launch("warp", warp_kernel,
         {dim3(static_cast<unsigned>(ceil_div(canvas.positions(), kThreads)),
               static_cast<unsigned>(arguments.images_count)),
          dim3(kThreads)},
         stream, arguments.images, arguments.canvases, arguments.maps, arguments.status, arguments.border,
         arguments.value, size, canvas);
}

void warp_adjoint(const WarpAdjointArguments& arguments, cudaStream_t stream) {
  const Size size{arguments.image_height, arguments.image_width};
  const Size canvas{arguments.canvas_height, arguments.canvas_width};
  launch("warp_adjoint", warp_adjoint_kernel,
         {dim3(static_cast<unsigned>(ceil_div(size.positions(), kThreads)),
               static_cast<unsigned>(arguments.images_count)),
          dim3(kThreads)},
         stream, arguments.canvas_gradients, arguments.image_gradients, arguments.maps, size, canvas);
}

}  // namespace filterscope::kernels
