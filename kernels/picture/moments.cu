// Mean and deviation of images, and images with a given mean and deviation.
//
// Floor: 4 bytes read per value; to set them, 4 more written. Only between stages and for pictures, hence in
// double and with the image read twice, from the cache, so that the deviation of nearly constant images is
// right, too. One block finds the moments of an image.
#include "../common/global.h"
#include "../common/launch.h"
#include "image_moments.h"
#include "moments.h"

namespace filterscope::kernels {
namespace {

constexpr int kThreads = 512;
constexpr int kSetThreads = 256;

__global__ void __launch_bounds__(kThreads)
    image_moments_kernel(Global<const float> images, Global<Moments> moments, int values_per_image) {
  const Moments found = moments_of<kThreads>(images, blockIdx.x, values_per_image);
  if (threadIdx.x == 0) moments.store(blockIdx.x, found);
}

__global__ void __launch_bounds__(kSetThreads)
    set_moments_kernel(Global<float> images, Global<const Moments> moments, Global<const Moments> own,
                       Moments given, int values_per_image) {
  const int at = static_cast<int>(blockIdx.x * kSetThreads + threadIdx.x);
  if (at >= values_per_image) return;
  const Moments from = own ? own.load(blockIdx.y) : given;
  if (from.deviation == 0) return;
  const Moments to = moments.load(blockIdx.y);
  const std::int64_t index = std::int64_t{blockIdx.y} * values_per_image + at;
  const double unit = (images.load(index) - from.mean) / from.deviation;
  images.store(index, static_cast<float>(unit * to.deviation + to.mean));
}

}  // namespace

void image_moments(const float* images, Moments* moments, int images_count, int values_per_image,
                   cudaStream_t stream) {
  launch("image_moments", image_moments_kernel, {dim3(static_cast<unsigned>(images_count)), dim3(kThreads)},
         stream, images, moments, values_per_image);
}

void set_moments(const SetMomentsArguments& arguments, cudaStream_t stream) {
  launch("set_moments", set_moments_kernel,
         {dim3(static_cast<unsigned>(ceil_div(arguments.values_per_image, kSetThreads)),
               static_cast<unsigned>(arguments.images_count)),
          dim3(kSetThreads)},
         stream, arguments.images, arguments.moments, arguments.own, arguments.given,
         arguments.values_per_image);
}

}  // namespace filterscope::kernels
