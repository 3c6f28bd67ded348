// Encoding of images as 8-bit pictures, in the ways that encode.cu does not know.
//
// Floor: 4 bytes read and 1 written per value, once in a run of hundreds of iterations. One block finds what
// an image is mapped by and then encodes it, reading it again from the cache.
#include "../common/global.h"
#include "../common/launch.h"
#include "encode_picture.h"
#include "image_moments.h"

namespace filterscope::kernels {
namespace {

constexpr int kThreads = 512;

struct Mapping {
  PictureKind kind;
  float deviation, centre, epsilon, low, high;
  bool truncates;
};

__global__ void __launch_bounds__(kThreads)
    encode_picture_kernel(Global<const float> images, Global<std::uint8_t> pictures, Mapping mapping,
                          int height, int width, int crop) {
  const int values = height * width * 3;
  const std::int64_t begin = std::int64_t{blockIdx.x} * values;
  const int thread = static_cast<int>(threadIdx.x);
  // A value becomes factor * (x - origin) + offset; min_max divides by the range, as encode() does.
  float origin = 0.f;
  float range = 1.f;
  float factor = 1.f;
  float offset = 0.f;
  switch (mapping.kind) {
    case PictureKind::min_max: {
      float lowest = images.load(begin);
      float highest = lowest;
      for (int at = thread; at < values; at += kThreads) {
        const float value = images.load(begin + at);
        lowest = Minimum{}(lowest, value);
        highest = Maximum{}(highest, value);
      }
      origin = block_reduce<Minimum, kThreads>(lowest);
      range = block_reduce<Maximum, kThreads>(highest) - origin;
      break;
    }
    case PictureKind::standardise: {
      const Moments moments = moments_of<kThreads>(images, blockIdx.x, values);
      const double scale = mapping.deviation / (moments.deviation + mapping.epsilon);
      factor = static_cast<float>(scale);
      offset = static_cast<float>(mapping.centre - moments.mean * scale);
      break;
    }
    case PictureKind::clip:
      factor = 1.f / (mapping.high - mapping.low);
      offset = __fmul_rn(-mapping.low, factor);
      break;
  }

  const int row = (width - 2 * crop) * 3;
  const int count = (height - 2 * crop) * row;
  const float half = mapping.truncates ? 0.f : 0.5f;
  for (int at = thread; at < count; at += kThreads) {
    const int from = (at / row + crop) * width * 3 + crop * 3 + at % row;
    // The host's operations, each rounded: an IEEE division, nothing fused.
    float unit = __fadd_rn(__fmul_rn(factor, (images.load(begin + from) - origin) / range), offset);
    unit = range > 0.f ? min(max(unit, 0.f), 1.f) : 0.f;
    pictures.store(std::int64_t{blockIdx.x} * count + at,
                   static_cast<std::uint8_t>(__fadd_rn(__fmul_rn(255.f, unit), half)));
  }
}

}  // namespace

void encode_picture(const EncodePictureArguments& arguments, cudaStream_t stream) {
  const Mapping mapping{arguments.kind, arguments.deviation, arguments.centre,   arguments.epsilon,
                        arguments.low,  arguments.high,      arguments.truncates};
  launch("encode_picture", encode_picture_kernel,
         {dim3(static_cast<unsigned>(arguments.images_count)), dim3(kThreads)}, stream, arguments.images,
         arguments.pictures, mapping, arguments.height, arguments.width, arguments.crop);
}

}  // namespace filterscope::kernels
