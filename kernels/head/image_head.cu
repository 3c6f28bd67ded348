// The filter head of the first layer, whose filters read 27 values of the image itself. These are few and the
// image is small: each thread computes one position and reads every value from L1.
#include "../common/global.h"
#include "../common/launch.h"
#include "../common/reduce.h"
#include "../first_layer/dgrad.h"
#include "../first_layer/mapped_image.h"
#include "active_positions.h"
#include "image_head.h"

namespace filterscope::kernels {
namespace {

constexpr int kThreads = 128;
constexpr int kWarps = kThreads / kWarpSize;
constexpr int kGradientThreads = kGradientTile * kGradientTile;
constexpr int kTaps = 9;
constexpr int kImageTaps = 27;

template <class Window>
__global__ void __launch_bounds__(kThreads)
    image_head_kernel(MappedImages input, Global<const float> weights, Global<const float> bias,
                      Global<const int> filters, Global<float> sums, Global<std::uint32_t> active,
                      Window window) {
  const int thread = static_cast<int>(threadIdx.x);
  const int image = static_cast<int>(blockIdx.y);
  const int part = static_cast<int>(blockIdx.x);
  const int filter = filters.load(image);
  float weight[kImageTaps];
#pragma unroll
  for (int i = 0; i < kImageTaps; ++i) weight[i] = weights.load(filter * kImageTaps + i);
  const float offset = bias.load(filter);

  const int positions = input.height * input.width;
  const int words = ceil_div(positions, kWordPositions);
  const int first_word = part * words_per_part(positions);
  const int end_word = min(first_word + words_per_part(positions), words);
  float sum = 0.f;
  for (int word = first_word + thread / kWarpSize; word < end_word; word += kWarps) {
    const int position = word * kWordPositions + thread % kWarpSize;
    const int y = position / input.width;
    const int x = position % input.width;
    float response = offset;
#pragma unroll
    for (int tap = 0; tap < kTaps; ++tap) {
      const Pixel pixel = input.load(image, y + tap / 3 - 1, x + tap % 3 - 1);
#pragma unroll
      for (int c = 0; c < 3; ++c) response += pixel.channels[c] * weight[tap * 3 + c];
    }
    sum += active_word(active, static_cast<std::int64_t>(image) * words + word, response,
                       position < positions, window, position, input.width);
  }
  sum = block_reduce<Sum, kThreads>(sum);
  if (thread == 0) sums.store(image * kFilterHeadParts + part, sum);
}

template <class Window>
__global__ void __launch_bounds__(kGradientThreads)
    image_head_gradient_kernel(Global<const std::uint32_t> active, Global<const float> response_sums,
                               Global<const float> weights, Global<const int> filters, InputMap map,
                               float scale, Global<float> image_gradients, Global<float> squares, int height,
                               int width, Window window) {
  const int thread = static_cast<int>(threadIdx.x);
  const int image = static_cast<int>(blockIdx.y);
  const int part = static_cast<int>(blockIdx.x);
  const int tiles_across = ceil_div(width, kGradientTile);
  const int y = part / tiles_across * kGradientTile + thread / kGradientTile;
  const int x = part % tiles_across * kGradientTile + thread % kGradientTile;
  const int filter = filters.load(image);
  float square = 0.f;
  if (y < height && x < width) {
    float factors[kTaps];
    tap_factors(factors, active, is_rescued(response_sums, image), image, y, x, height, width, scale, window);
    Pixel input_gradient{};
#pragma unroll
    for (int tap = 0; tap < kTaps; ++tap) {
#pragma unroll
      for (int c = 0; c < 3; ++c) {
        input_gradient.channels[c] += factors[tap] * weights.load(filter * kImageTaps + tap * 3 + c);
      }
    }
    const Pixel pixel = image_gradient(map, input_gradient);
    const std::int64_t at = ((static_cast<std::int64_t>(image) * height + y) * width + x) * 3;
#pragma unroll
    for (int c = 0; c < 3; ++c) {
      image_gradients.store(at + c, pixel.channels[c]);
      square += pixel.channels[c] * pixel.channels[c];
    }
  }
  square = block_reduce<Sum, kGradientThreads>(square);
  if (thread == 0) squares.store(static_cast<std::int64_t>(image) * gridDim.x + part, square);
}

}  // namespace

void image_head(const ImageHeadArguments& arguments, cudaStream_t stream) {
  with_window(arguments.window, [&]<class Window>(const Window& window) {
    launch("image_head", image_head_kernel<Window>,
           {dim3(kFilterHeadParts, static_cast<unsigned>(arguments.images_count)), dim3(kThreads)}, stream,
           MappedImages{arguments.images, arguments.map, arguments.height, arguments.width},
           arguments.weights, arguments.bias, arguments.filters, arguments.sums, arguments.active, window);
  });
}

void image_head_gradient(const ImageHeadGradientArguments& arguments, cudaStream_t stream) {
  with_window(arguments.window, [&]<class Window>(const Window& window) {
    launch("image_head_gradient", image_head_gradient_kernel<Window>,
           {dim3(static_cast<unsigned>(image_gradient_parts(arguments.height, arguments.width)),
                 static_cast<unsigned>(arguments.images_count)),
            dim3(kGradientThreads)},
           stream, arguments.active, arguments.sums, arguments.weights, arguments.filters, arguments.map,
           arguments.scale, arguments.image_gradients, arguments.squares, arguments.height, arguments.width,
           window);
  });
}

}  // namespace filterscope::kernels
