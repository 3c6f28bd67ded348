// The gradient at a position is a sum of up to 9 of the filter's taps, the same ones for all channels
// (filter_head.cu states the floor). A block computes 256 positions of one chunk of channels. Each thread
// first determines the nine factors of one position, each the scale or zero. Then a thread keeps the 9 x 8
// weights of its channels in registers and loops over 8 positions: it reads their factors (broadcast), does
// 72 multiply-adds and stores 16 bytes, so that a warp stores four full lines. Each block determines whether
// its image is rescued from the eight sums of filter_head, one line that all its threads share.
#include "../common/channel_lanes.h"
#include "../common/global.h"
#include "../common/launch.h"
#include "../relu/relu_mask_reader.h"
#include "active_positions.h"
#include "filter_head.h"

namespace filterscope::kernels {
namespace {

constexpr int kThreads = 256;
constexpr int kTaps = 9;
constexpr int kFactorQuads = ceil_div(kTaps, 4);

template <class T, MaskFormat kFormat, class Window>
__global__ void __launch_bounds__(kThreads, 2)
    filter_head_gradient_kernel(Global<const std::uint32_t> active, Global<const float> response_sums,
                                Global<const float> weights, Global<const int> filters,
                                ReluMaskReader<kFormat, T> mask, float scale, Global<T> gradient, int height,
                                int width, int channels, Window window) {
  FILTERSCOPE_SHARED(Quad, factors, kThreads * kFactorQuads);

  const int thread = static_cast<int>(threadIdx.x);
  const int lane = thread % kChannelLanes;
  const int image = static_cast<int>(blockIdx.y);
  const int chunks = ceil_div(channels, kChannelChunk<T>);
  const int channel = static_cast<int>(blockIdx.x) % chunks * kChannelChunk<T> + lane * kVectorSize<T>;
  const int first = static_cast<int>(blockIdx.x) / chunks * kThreads;
  const int positions = height * width;

  float thread_factors[4 * kFactorQuads] = {};
  tap_factors(thread_factors, active, is_rescued(response_sums, image), image, (first + thread) / width,
              (first + thread) % width, height, width, scale, window);
#pragma unroll
  for (int i = 0; i < kFactorQuads; ++i) {
    factors[thread * kFactorQuads + i] = {thread_factors[4 * i], thread_factors[4 * i + 1],
                                          thread_factors[4 * i + 2], thread_factors[4 * i + 3]};
  }
  __syncthreads();
  if (channel >= channels) return;  // The last chunk may have fewer.

  Quad weight[kTaps][kQuadsPerVector<T>];
  const std::int64_t filter = filters.load(image);
#pragma unroll
  for (int tap = 0; tap < kTaps; ++tap) {
#pragma unroll
    for (int quad = 0; quad < kQuadsPerVector<T>; ++quad) {
      weight[tap][quad] =
          weights.template load_vector<4>((filter * kTaps + tap) * channels + channel + quad * 4);
    }
  }
  const std::int64_t image_at = static_cast<std::int64_t>(image) * positions;
  constexpr int kStep = kThreads / kChannelLanes;
  std::int64_t at = (image_at + first + thread / kChannelLanes) * channels + channel;
#pragma unroll 1
  for (int i = thread / kChannelLanes; i < min(kThreads, positions - first); i += kStep) {
    const typename ReluMaskReader<kFormat, T>::Loaded loaded_mask = mask.load(at);
    Quad factor[kFactorQuads];
#pragma unroll
    for (int quad = 0; quad < kFactorQuads; ++quad) factor[quad] = factors[i * kFactorQuads + quad];
    float sums[kVectorSize<T>] = {};
#pragma unroll
    for (int tap = 0; tap < kTaps; ++tap) {
      for (int c = 0; c < kVectorSize<T>; ++c) {
        sums[c] += factor[tap / 4][tap % 4] * weight[tap][c / 4][c % 4];
      }
    }
    Vector<T, kVectorSize<T>> result;
#pragma unroll
    for (int c = 0; c < kVectorSize<T>; ++c)
      result[c] = from_float<T>(mask.active(loaded_mask, c) ? sums[c] : 0.f);
    gradient.template store_vector<kVectorSize<T>>(at, result);
    at += kStep * channels;
  }
}

template <class T, MaskFormat kFormat>
void launch_gradient(const FilterHeadGradientArguments<T>& arguments, cudaStream_t stream) {
  const int blocks =
      ceil_div(arguments.height * arguments.width, kThreads) * ceil_div(arguments.channels, kChannelChunk<T>);
  with_window(arguments.window, [&]<class Window>(const Window& window) {
    launch(
        "filter_head_gradient", filter_head_gradient_kernel<T, kFormat, Window>,
        {dim3(static_cast<unsigned>(blocks), static_cast<unsigned>(arguments.images_count)), dim3(kThreads)},
        stream, arguments.active, arguments.sums, arguments.weights, arguments.filters,
        ReluMaskReader<kFormat, T>(arguments.mask.data), arguments.scale, arguments.gradient,
        arguments.height, arguments.width, arguments.channels, window);
  });
}

}  // namespace

template <class T>
void filter_head_gradient(const FilterHeadGradientArguments<T>& arguments, cudaStream_t stream) {
  switch (arguments.mask.format) {
    case MaskFormat::none:
      return launch_gradient<T, MaskFormat::none>(arguments, stream);
    case MaskFormat::bits:
      return launch_gradient<T, MaskFormat::bits>(arguments, stream);
    case MaskFormat::bytes:
      return launch_gradient<T, MaskFormat::bytes>(arguments, stream);
    case MaskFormat::activation:
      return launch_gradient<T, MaskFormat::activation>(arguments, stream);
  }
}

template void filter_head_gradient(const FilterHeadGradientArguments<float>&, cudaStream_t);
template void filter_head_gradient(const FilterHeadGradientArguments<Half>&, cudaStream_t);
template void filter_head_gradient(const FilterHeadGradientArguments<Bfloat16>&, cudaStream_t);

}  // namespace filterscope::kernels
