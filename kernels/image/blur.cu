// The blur of images after some of the steps.
//
// Floor: image and scratch read and written once each, 16 bytes per value, in an iteration in which a blur is
// due; in all others the kernels return at once. That is decided on the device, since all iterations are the
// same graph. A tile in shared memory would save the pass over the scratch, but not enough to matter: recipes
// blur every few iterations, each of which moves hundreds of times as many bytes through the network.
#include "../common/global.h"
#include "../common/launch.h"
#include "blur.h"

namespace filterscope::kernels {
namespace {

constexpr int kThreads = 256;

template <bool kAcross>
__global__ void __launch_bounds__(kThreads)
    blur_kernel(Global<const float> from, Global<float> to, Global<const float> weights, int radius,
                int every, int earlier, Global<const AscentStatus> status, Global<const int> iteration,
                int height, int row) {
  const int image = static_cast<int>(blockIdx.y);
  if ((iteration.load(0) - earlier) % every != 0 || status.load(image) != AscentStatus::climbing) return;
  const int at = static_cast<int>(blockIdx.x * kThreads + threadIdx.x);
  if (at >= height * row) return;
  const std::int64_t begin = std::int64_t{image} * height * row;
  const int y = at / row;
  const int x = at % row / 3;
  const int width = row / 3;
  float sum = 0;
  for (int i = -radius; i <= radius; ++i) {
    const int other = kAcross ? at + (min(max(x + i, 0), width - 1) - x) * 3
                              : at + (min(max(y + i, 0), height - 1) - y) * row;
    sum += weights.load(i + radius) * from.load(begin + other);
  }
  to.store(begin + at, sum);
}

}  // namespace

void blur(const BlurArguments& arguments, cudaStream_t stream) {
  const int row = arguments.width * 3;
  const auto pass = [&](auto kernel, const float* from, float* to) {
    launch("blur", kernel,
           {dim3(static_cast<unsigned>(ceil_div(arguments.height * row, kThreads)),
                 static_cast<unsigned>(arguments.images_count)),
            dim3(kThreads)},
           stream, from, to, arguments.weights, arguments.radius, arguments.every, arguments.earlier,
           arguments.state.status, arguments.state.iteration, arguments.height, row);
  };
  pass(blur_kernel<true>, arguments.images, arguments.scratch);
  pass(blur_kernel<false>, arguments.scratch, arguments.images);
}

}  // namespace filterscope::kernels
