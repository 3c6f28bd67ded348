// Start images.
//
// Floor: 4 bytes written a value, once in a run of hundreds of iterations. Made where it is needed it saves
// the host's time for it and the copy to the device: 110 KB for an image of 96 x 96, 0.5 GB for all filters.
// Each thread writes the four values that one call of the generator gives.
#include "../common/global.h"
#include "../common/launch.h"
#include "noise.h"

namespace filterscope::kernels {
namespace {

constexpr int kThreads = 256;
constexpr int kWords = 4;  // That one call of the generator gives.

struct Counter {
  std::uint32_t words[kWords];
};

__device__ inline Counter philox(Counter counter, std::uint32_t key0, std::uint32_t key1) {
  for (int round = 0; round < 10; ++round) {
    const std::uint32_t high0 = __umulhi(0xD2511F53u, counter.words[0]);
    const std::uint32_t low0 = 0xD2511F53u * counter.words[0];
    const std::uint32_t high1 = __umulhi(0xCD9E8D57u, counter.words[2]);
    const std::uint32_t low1 = 0xCD9E8D57u * counter.words[2];
    counter = {{high1 ^ counter.words[1] ^ key0, low1, high0 ^ counter.words[3] ^ key1, low0}};
    key0 += 0x9E3779B9u;
    key1 += 0xBB67AE85u;
  }
  return counter;
}

__global__ void noise_kernel(Global<float> images, Global<const int> layers, Global<const int> filters,
                             int values_per_image, std::uint64_t seed, float low, float high) {
  const int image = static_cast<int>(blockIdx.y);
  const int first = static_cast<int>(blockIdx.x * kThreads + threadIdx.x) * kWords;
  if (first >= values_per_image) return;
  const Counter random =
      philox({{static_cast<std::uint32_t>(first / kWords), static_cast<std::uint32_t>(filters.load(image)),
               static_cast<std::uint32_t>(layers.load(image)), 0u}},
             static_cast<std::uint32_t>(seed), static_cast<std::uint32_t>(seed >> 32));
  for (int word = 0; word < kWords && first + word < values_per_image; ++word) {
    const float unit = static_cast<float>(random.words[word] >> 8) * 0x1p-24f;
    // Rounded twice, as the host does it, not fused.
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
