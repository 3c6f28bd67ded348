// Start values that noise.cu does not make: normally distributed ones, and constants.
//
// Floor: 4 bytes written per value, once in a run of hundreds of iterations. Each thread writes the four
// values that one call of the generator yields.
#include "../common/global.h"
#include "../common/launch.h"
#include "../common/philox.h"
#include "start.h"

namespace filterscope::kernels {
namespace {

constexpr int kThreads = 256;
constexpr int kWords = Philox::kWords;

__global__ void __launch_bounds__(kThreads)
    gaussian_noise_kernel(Global<float> values, Global<const int> layers, Global<const int> filters,
                          int values_per_image, std::uint64_t seed, float mean, float deviation) {
  const int image = static_cast<int>(blockIdx.y);
  const int first = static_cast<int>(blockIdx.x * kThreads + threadIdx.x) * kWords;
  if (first >= values_per_image) return;
  const Philox::Counter random = random_block(
      seed, RandomStream::initial_image, static_cast<std::uint32_t>(layers.load(image)),
      static_cast<std::uint32_t>(filters.load(image)), static_cast<std::uint32_t>(first / kWords));
#pragma unroll
  for (int word = 0; word < kWords; word += 2) {
    const float u = to_unit_float(random.words[word]) + 0x1p-24f;  // Its logarithm is finite.
    const float half_turns = 2 * to_unit_float(random.words[word + 1]);
    const float radius = deviation * sqrtf(-2 * logf(u));
    const float pair[2] = {mean + radius * cospif(half_turns), mean + radius * sinpif(half_turns)};
    for (int i = 0; i < 2 && first + word + i < values_per_image; ++i)
      values.store(std::int64_t{image} * values_per_image + first + word + i, pair[i]);
  }
}

__global__ void __launch_bounds__(kThreads)
    fill_kernel(Global<float> values, std::int64_t count, float value) {
  const std::int64_t at = std::int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (at < count) values.store(at, value);
}

}  // namespace

void gaussian_noise(const GaussianNoiseArguments& arguments, cudaStream_t stream) {
  const int blocks = ceil_div(ceil_div(arguments.values_per_image, kWords), kThreads);
  launch("gaussian_noise", gaussian_noise_kernel,
         {dim3(static_cast<unsigned>(blocks), static_cast<unsigned>(arguments.images_count)), dim3(kThreads)},
         stream, arguments.values, arguments.layers, arguments.filters, arguments.values_per_image,
         arguments.seed, arguments.mean, arguments.deviation);
}

void fill(float* values, std::int64_t count, float value, cudaStream_t stream) {
  launch("fill", fill_kernel,
         {dim3(static_cast<unsigned>(ceil_div(count, std::int64_t{kThreads}))), dim3(kThreads)}, stream,
         values, count, value);
}

}  // namespace filterscope::kernels
