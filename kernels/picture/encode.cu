// Encoding of images as 8-bit pictures.
//
// Floor: 4 bytes read and 1 written per value, once in a run of hundreds of iterations; only a quarter of the
// bytes remain to be copied to the host. One block finds an image's minimum and maximum and then encodes it,
// reading it again from the cache.
#include "../common/global.h"
#include "../common/launch.h"
#include "../common/reduce.h"
#include "encode.h"

namespace filterscope::kernels {
namespace {

constexpr int kThreads = 512;

template <int kWidth>
__global__ void __launch_bounds__(kThreads)
    encode_kernel(Global<const float> images, Global<std::uint8_t> pictures, int values_per_image) {
  const std::int64_t begin = std::int64_t{blockIdx.x} * values_per_image;
  const int first = static_cast<int>(threadIdx.x) * kWidth;
  float lowest = images.load(begin);
  float highest = lowest;
  for (int at = first; at < values_per_image; at += kThreads * kWidth) {
    const Vector<float, kWidth> values = images.load_vector<kWidth>(begin + at);
    for (int i = 0; i < kWidth; ++i) {
      lowest = Minimum{}(lowest, values[i]);
      highest = Maximum{}(highest, values[i]);
    }
  }
  lowest = block_reduce<Minimum, kThreads>(lowest);
  highest = block_reduce<Maximum, kThreads>(highest);
  const float range = highest - lowest;
  for (int at = first; at < values_per_image; at += kThreads * kWidth) {
    Vector<std::uint8_t, kWidth> bytes{};
    if (range > 0.f) {
      const Vector<float, kWidth> values = images.load_vector<kWidth>(begin + at);
      for (int i = 0; i < kWidth; ++i) {
        // The host's operations, each rounded: an IEEE division, nothing fused.
        const float scaled = __fmul_rn(255.f, (values[i] - lowest) / range);
        bytes[i] = static_cast<std::uint8_t>(__fadd_rn(scaled, 0.5f));
      }
    }
    pictures.store_vector<kWidth>(begin + at, bytes);
  }
}

}  // namespace

void encode(const EncodeArguments& arguments, cudaStream_t stream) {
  // Images are stored without padding: either all of them are aligned for vectors or only the first is.
  const auto kernel = arguments.values_per_image % 4 == 0 ? encode_kernel<4> : encode_kernel<1>;
  launch("encode", kernel, {dim3(static_cast<unsigned>(arguments.images_count)), dim3(kThreads)}, stream,
         arguments.images, arguments.pictures, arguments.values_per_image);
}

}  // namespace filterscope::kernels
