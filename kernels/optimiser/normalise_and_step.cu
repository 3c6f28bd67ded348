// One gradient step of every image that climbs.
//
// Floor: image and gradient are read and the image is written, 12 bytes per value, for one multiplication and
// one addition. The norm takes no separate pass: the dgrad kernel leaves partial sums of squares, so few that
// every block adds up its image's anew, in the same order and hence to the same result. One warp does this,
// and one thread the square root and division, which are slow in double, while the block's loads of images
// and gradients are in flight.
#include "../common/global.h"
#include "../common/launch.h"
#include "../common/reduce.h"
#include "normalise_and_step.h"

namespace filterscope::kernels {
namespace {

constexpr int kThreads = 256;
constexpr int kValuesPerThread = 8;

template <int kWidth>
__global__ void __launch_bounds__(kThreads)
    normalise_and_step_kernel(Global<float> images, Global<const float> gradients,
                              Global<const float> squares, int parts, float step, float epsilon,
                              Global<AscentStatus> status, Global<int> steps, Global<const float> losses,
                              Global<float> gradient_norms, int values_per_image) {
  constexpr int kVectors = kValuesPerThread / kWidth;
  const int image = static_cast<int>(blockIdx.y);
  const std::int64_t begin = std::int64_t{image} * values_per_image;
  const int first =
      (static_cast<int>(blockIdx.x) * kVectors * kThreads + static_cast<int>(threadIdx.x)) * kWidth;
  Vector<float, kWidth> values[kVectors];
  Vector<float, kWidth> gradient[kVectors];
#pragma unroll
  for (int i = 0; i < kVectors; ++i) {
    const int at = first + i * kThreads * kWidth;
    if (at >= values_per_image) continue;
    values[i] = images.load_vector<kWidth>(begin + at);
    gradient[i] = gradients.load_vector<kWidth>(begin + at);
  }

  FILTERSCOPE_SHARED(float, shared_factor, 1);  // 0: the image stays as it is.
  if (threadIdx.x < kWarpSize) {
    double sum = 0;
    for (int part = static_cast<int>(threadIdx.x); part < parts; part += kWarpSize) {
      sum += static_cast<double>(squares.load(std::int64_t{image} * parts + part));
    }
    sum = warp_reduce<Sum>(sum);
    if (threadIdx.x == 0) {
      // The image's first block may store a new status while its other blocks load it here. Either value
      // leads them to the same result: the new status only ever stops the image, and a block that still sees
      // it climbing derives the stop from the same numbers. No other block reads steps or norms.
      const bool climbed = status.load(image) == AscentStatus::climbing;
      const float norm = static_cast<float>(sqrt(sum));
      const bool finite = isfinite(losses.load(image)) && isfinite(norm);
      const bool climbs = climbed && finite && sum != 0;
      if (blockIdx.x == 0) {
        if (climbed || !finite) gradient_norms.store(image, norm);
        if (climbs) {
          steps.store(image, steps.load(image) + 1);
        } else if (climbed) {
          status.store(image, finite ? AscentStatus::dead : AscentStatus::nonfinite);
        }
      }
      shared_factor[0] = climbs ? static_cast<float>(step / sqrt(max(sum, double{epsilon}))) : 0.f;
    }
  }
  __syncthreads();
  const float factor = shared_factor[0];
  if (factor == 0.f) return;

#pragma unroll
  for (int i = 0; i < kVectors; ++i) {
    const int at = first + i * kThreads * kWidth;
    if (at >= values_per_image) continue;
    // Rounded twice, as on the host, not fused.
    for (int j = 0; j < kWidth; ++j)
      values[i][j] = __fadd_rn(values[i][j], __fmul_rn(factor, gradient[i][j]));
    images.store_vector<kWidth>(begin + at, values[i]);
  }
}

}  // namespace

void normalise_and_step(const NormaliseAndStepArguments& arguments, cudaStream_t stream) {
  const AscentState& state = arguments.state;
  // Images are stored without padding: either all of them are aligned for vectors or only the first is.
  const auto kernel =
      arguments.values_per_image % 4 == 0 ? normalise_and_step_kernel<4> : normalise_and_step_kernel<1>;
  const int blocks = ceil_div(arguments.values_per_image, kThreads * kValuesPerThread);
  launch("normalise_and_step", kernel,
         {dim3(static_cast<unsigned>(blocks), static_cast<unsigned>(arguments.images_count)), dim3(kThreads)},
         stream, arguments.images, arguments.gradients, arguments.squares, arguments.parts, arguments.step,
         arguments.epsilon, state.status, state.steps, state.losses, state.gradient_norms,
         arguments.values_per_image);
}

}  // namespace filterscope::kernels
