// Gradients of penalties on images.
//
// Floor: the image read and the gradient read and written, 12 bytes per value; the penalties on neighbours
// and on magnitudes share one pass, whose neighbours come from the cache. An image's norm must be known
// before its gradient: one block computes both, reading the image a second time, from the cache.
#include "../common/global.h"
#include "../common/launch.h"
#include "../common/reduce.h"
#include "penalties.h"

namespace filterscope::kernels {
namespace {

constexpr int kThreads = 256;
constexpr int kNormThreads = 512;

__device__ float sign(float value) {
  return static_cast<float>((value > 0.f) - (value < 0.f));
}

__global__ void __launch_bounds__(kThreads)
    penalty_gradient_kernel(Global<const float> images, Global<float> gradients, int height, int row,
                            float variation_l1, float variation_l2, float magnitude) {
  const int at = static_cast<int>(blockIdx.x * kThreads + threadIdx.x);
  if (at >= height * row) return;
  const int y = at / row;
  const int x = at % row;
  const std::int64_t begin = std::int64_t{blockIdx.y} * height * row;
  const float value = images.load(begin + at);
  float signs = 0;
  float differences = 0;
  const auto add = [&](bool exists, int neighbour) {
    if (!exists) return;
    const float difference = value - images.load(begin + neighbour);
    signs += sign(difference);
    differences += difference;
  };
  add(y > 0, at - row);
  add(y + 1 < height, at + row);
  add(x >= 3, at - 3);
  add(x + 3 < row, at + 3);
  const float slope = variation_l1 * signs + 2 * variation_l2 * differences + magnitude * sign(value);
  gradients.store(begin + at, gradients.load(begin + at) - slope);
}

__global__ void __launch_bounds__(kNormThreads)
    norm_penalty_gradient_kernel(Global<const float> images, Global<float> gradients, int values_per_image,
                                 float weight, float power) {
  const std::int64_t begin = std::int64_t{blockIdx.x} * values_per_image;
  // In double: powers of grey levels soon leave the range of float.
  double sum = 0;
  for (int at = static_cast<int>(threadIdx.x); at < values_per_image; at += kNormThreads)
    sum += pow(fabs(static_cast<double>(images.load(begin + at))), static_cast<double>(power));
  sum = block_reduce<Sum, kNormThreads>(sum);
  if (sum == 0) return;
  const double norm = pow(sum, 1 / static_cast<double>(power));
  for (int at = static_cast<int>(threadIdx.x); at < values_per_image; at += kNormThreads) {
    const float value = images.load(begin + at);
    const double share = pow(fabs(static_cast<double>(value)) / norm, static_cast<double>(power) - 1);
    gradients.store(begin + at,
                    gradients.load(begin + at) - weight * sign(value) * static_cast<float>(share));
  }
}

}  // namespace

void penalty_gradient(const PenaltyArguments& arguments, cudaStream_t stream) {
  const int row = arguments.width * 3;
  launch("penalty_gradient", penalty_gradient_kernel,
         {dim3(static_cast<unsigned>(ceil_div(arguments.height * row, kThreads)),
               static_cast<unsigned>(arguments.images_count)),
          dim3(kThreads)},
         stream, arguments.images, arguments.gradients, arguments.height, row, arguments.variation_l1,
         arguments.variation_l2, arguments.magnitude);
}

void norm_penalty_gradient(const NormPenaltyArguments& arguments, cudaStream_t stream) {
  launch("norm_penalty_gradient", norm_penalty_gradient_kernel,
         {dim3(static_cast<unsigned>(arguments.images_count)), dim3(kNormThreads)}, stream, arguments.images,
         arguments.gradients, arguments.values_per_image, arguments.weight, arguments.power);
}

}  // namespace filterscope::kernels
