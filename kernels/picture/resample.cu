// Resampling of images to other sizes, one dimension at a time.
//
// Floor: input and output once each, 8 bytes per value and dimension. The weights come from the host: a
// filter's support differs from element to element, and all rows or columns share it. Done between stages, a
// few times in a run, hence in double, like the host, so that both round the 8-bit values in between alike.
#include "../common/global.h"
#include "../common/launch.h"
#include "resample.h"

namespace filterscope::kernels {
namespace {

constexpr int kThreads = 256;

template <class T>
__global__ void __launch_bounds__(kThreads)
    resample_kernel(Global<const T> from, Global<float> to, Global<const int> first, Global<const int> taps,
                    Global<const double> weights, int most_taps, bool bytes, std::int64_t count,
                    int from_size, int to_size, int inner) {
  const std::int64_t at = std::int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (at >= count) return;
  const std::int64_t row = at / inner;
  const auto element = static_cast<int>(row % to_size);
  const std::int64_t begin =
      (row / to_size * from_size + first.load(element)) * inner + static_cast<int>(at % inner);
  const int terms = taps.load(element);
  double sum = 0;
  for (int i = 0; i < terms; ++i) {
    sum += weights.load(std::int64_t{element} * most_taps + i) *
           static_cast<double>(from.load(begin + std::int64_t{i} * inner));
  }
  if (bytes) sum = min(max(floor(sum + 0.5), 0.), 255.);
  to.store(at, static_cast<float>(sum));
}

}  // namespace

template <class T>
void resample(const ResampleArguments<T>& arguments, cudaStream_t stream) {
  const std::int64_t count = arguments.outer * arguments.to_size * arguments.inner;
  launch("resample", resample_kernel<T>,
         {dim3(static_cast<unsigned>(ceil_div(count, std::int64_t{kThreads}))), dim3(kThreads)}, stream,
         arguments.from, arguments.to, arguments.first, arguments.taps, arguments.weights,
         arguments.most_taps, arguments.bytes, count, arguments.from_size, arguments.to_size,
         arguments.inner);
}

template void resample(const ResampleArguments<float>&, cudaStream_t);
template void resample(const ResampleArguments<std::uint8_t>&, cudaStream_t);

}  // namespace filterscope::kernels
