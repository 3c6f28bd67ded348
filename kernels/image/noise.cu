// Start images.
//
// Floor: 4 bytes written per value, once in a run of hundreds of iterations. Generating the noise on the
// device saves the host's time and a copy of 110 KB for an image of 96 x 96, 0.5 GB for all filters. Each
// thread writes the four values that one call of the generator yields.
#include "../common/global.h"
#include "../common/launch.h"
#include "../common/philox.h"
#include "noise.h"

namespace filterscope::kernels {
namespace {

constexpr int kThreads = 256;
constexpr int kWords = Philox::kWords;

__global__ void noise_kernel(Global<float> images, Global<const int> layers, Global<const int> filters,
                             int values_per_image, std::uint64_t seed, float low, float high) {
  const int image = static_cast<int>(blockIdx.y);
  const int first = static_cast<int>(blockIdx.x * kThreads + threadIdx.x) * kWords;
  if (first >= values_per_image) return;
  const Philox::Counter random = random_block(
      seed, RandomStream::initial_image, static_cast<std::uint32_t>(layers.load(image)),
      static_cast<std::uint32_t>(filters.load(image)), static_cast<std::uint32_t>(first / kWords));
  for (int word = 0; word < kWords && first + word < values_per_image; ++word) {
    const float unit = to_unit_float(random.words[word]);
    // Rounded twice, as on the host, not fused.
    images.store(static_cast<std::int64_t>(image) * values_per_image + first + word,
                 __fadd_rn(low, __fmul_rn(high - low, unit)));
  }
}

}  // namespace

void noise(const NoiseArguments& arguments, cudaStream_t stream) {
  const int blocks = ceil_div(ceil_div(arguments.values_per_image, kWords), kThreads);
  launch("noise", noise_kernel,
         {dim3(static_cast<unsigned>(blocks), static_cast<unsigned>(arguments.images_count)), dim3(kThreads)},
         stream, arguments.images, arguments.layers, arguments.filters, arguments.values_per_image,
         arguments.seed, arguments.low, arguments.high);
}

}  // namespace filterscope::kernels
