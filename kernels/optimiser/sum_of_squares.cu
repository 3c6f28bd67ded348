// Sums of squares of gradients, in parts, for gradients that do not come straight from the first layer's
// dgrad, which leaves such sums itself.
//
// Floor: 4 bytes read per value. Parts instead of one sum let enough blocks share an image; whoever wants the
// sum adds up the few parts in order.
#include "../common/global.h"
#include "../common/launch.h"
#include "../common/reduce.h"
#include "sum_of_squares.h"

namespace filterscope::kernels {
namespace {

constexpr int kThreads = 256;

__global__ void __launch_bounds__(kThreads)
    sum_of_squares_kernel(Global<const float> values, Global<float> squares, int values_per_image) {
  const std::int64_t begin = std::int64_t{blockIdx.y} * values_per_image;
  const int first = static_cast<int>(blockIdx.x) * kSquaresPerPart + static_cast<int>(threadIdx.x);
  float sum = 0;
#pragma unroll
  for (int i = 0; i < kSquaresPerPart / kThreads; ++i) {
    const int at = first + i * kThreads;
    if (at >= values_per_image) continue;
    const float value = values.load(begin + at);
    sum += value * value;
  }
  sum = block_reduce<Sum, kThreads>(sum);
  if (threadIdx.x == 0) squares.store(std::int64_t{blockIdx.y} * gridDim.x + blockIdx.x, sum);
}

}  // namespace

void sum_of_squares(const float* values, float* squares, int images_count, int values_per_image,
                    cudaStream_t stream) {
  launch("sum_of_squares", sum_of_squares_kernel,
         {dim3(static_cast<unsigned>(square_parts(values_per_image)), static_cast<unsigned>(images_count)),
          dim3(kThreads)},
         stream, values, squares, values_per_image);
}

}  // namespace filterscope::kernels
