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
  // A value becomes (x - origin) * scale + centre, in double like the host's; min_max, like encode()'s, is a
  // division in float.
  float lowest = 0.f;
  float range = 0.f;
  double origin = 0;
  double scale = 0;
  double centre = 0;
  switch (mapping.kind) {
    case PictureKind::min_max: {
      lowest = images.load(begin);
      float highest = lowest;
      for (int at = thread; at < values; at += kThreads) {
        const float value = images.load(begin + at);
        lowest = Minimum{}(lowest, value);
        highest = Maximum{}(highest, value);
      }
      lowest = block_reduce<Minimum, kThreads>(lowest);
      range = block_reduce<Maximum, kThreads>(highest) - lowest;
      break;
    }
    case PictureKind::standardise: {
      const Moments moments = moments_of<kThreads>(images, blockIdx.x, values);
      origin = moments.mean;
      scale = mapping.deviation / (moments.deviation + mapping.epsilon);
      centre = mapping.centre;
      break;
    }
    case PictureKind::clip:
      origin = mapping.low;
      scale = 1 / (static_cast<double>(mapping.high) - mapping.low);
      break;
  }

  const int row = (width - 2 * crop) * 3;
  const int count = (height - 2 * crop) * row;
  const float half = mapping.truncates ? 0.f : 0.5f;
  for (int at = thread; at < count; at += kThreads) {
    const float value = images.load(begin + (at / row + crop) * width * 3 + crop * 3 + at % row);
    std::uint8_t byte = 0;
    if (mapping.kind != PictureKind::min_max) {
      const double unit = min(max((value - origin) * scale + centre, 0.), 1.);
      byte = static_cast<std::uint8_t>(255 * unit + half);
    } else if (range > 0.f) {
      // Each operation rounded, nothing fused.
      byte = static_cast<std::uint8_t>(__fadd_rn(__fmul_rn(255.f, (value - lowest) / range), half));
    }
    pictures.store(std::int64_t{blockIdx.x} * count + at, byte);
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
