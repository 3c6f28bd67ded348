// 2x2 max-pool of stride 2 and its gradient.
//
// Floor: forward reads four elements and writes one and 3 bits for each output; backward reads one and the
// bits and writes four. Kept apart and without the bits, backward would be the pool's gradient (six elements
// read, four written) and the ReLU's (eight read, four written): 22 elements an output instead of 5.
//
// A thread owns a vector of 16 bytes along the channels, of one window: neighbouring lanes own neighbouring
// vectors, so all accesses are coalesced. A word of bits belongs to several lanes, which put their parts
// together by shuffles. A block stays within one row of windows, so that it divides once to know where it is.
#include "../common/global.h"
#include "../common/launch.h"
#include "../common/reduce.h"
#include "max_pool.h"

namespace filterscope::kernels {
namespace {

constexpr int kThreads = 128;
constexpr int kWindow = 4;          // Elements of a window, row by row.
constexpr int kArgmaxPerWord = 16;  // In a word.
constexpr int kActivePerWord = 32;

template <class T>
constexpr int kWidth = 16 / sizeof(T);

// The vector of channels of one window that a thread owns.
struct Place {
  int row;     // Of windows, over all images.
  int column;  // Of windows; beyond the last where the thread has nothing to do.
  int channel;
};

template <class T>
__device__ inline Place place_of_thread(int channels) {
  const int vectors = channels / kWidth<T>;
  const int at = static_cast<int>(blockIdx.y) * kThreads + static_cast<int>(threadIdx.x);
  return {static_cast<int>(blockIdx.x), at / vectors, at % vectors * kWidth<T>};
}

template <class T>
LaunchShape launch_shape(int images_count, int window_rows, int window_columns, int channels) {
  const int blocks = ceil_div(window_columns * (channels / kWidth<T>), kThreads);
  return {dim3(static_cast<unsigned>(images_count * window_rows), static_cast<unsigned>(blocks)),
          dim3(kThreads)};
}

template <class T>
__global__ void __launch_bounds__(kThreads)
    max_pool_kernel(Global<const T> input, Global<T> output, Global<std::uint32_t> argmax,
                    Global<std::uint32_t> active, int height, int width, int channels) {
  using Values = Vector<T, kWidth<T>>;
  const int out_height = height / 2;
  const int out_width = width / 2;
  const Place place = place_of_thread<T>(channels);
  // Lanes that share a word all have something to do, or none has; all take part in the shuffles.
  const bool inside = place.column < out_width;
  const std::int64_t out = (std::int64_t{place.row} * out_width + place.column) * channels + place.channel;
  std::uint32_t own_argmax = 0;
  std::uint32_t own_active = 0;
  if (inside) {
    const std::int64_t image = place.row / out_height;
    const int y = 2 * (place.row % out_height);
    const std::int64_t in = ((image * height + y) * width + 2 * place.column) * channels + place.channel;
    Values window[kWindow];
#pragma unroll
    for (int i = 0; i < kWindow; ++i) {
      window[i] =
          input.template load_vector<kWidth<T>>(in + (std::int64_t{i / 2} * width + i % 2) * channels);
    }
    Values best;
#pragma unroll
    for (int c = 0; c < kWidth<T>; ++c) {
      std::uint32_t largest = 0;
      best[c] = window[0][c];
      for (int i = 1; i < kWindow; ++i) {
        const float value = to_float(window[i][c]);
        // A NaN wins, and stays: it is to be seen in the loss.
        if (value > to_float(best[c]) || value != value) {
          largest = static_cast<std::uint32_t>(i);
          best[c] = window[i][c];
        }
      }
      own_argmax |= largest << 2 * c;
      own_active |= std::uint32_t{to_float(best[c]) > 0.f} << c;
    }
    output.template store_vector<kWidth<T>>(out, best);
  }
  if (!argmax) return;
  own_argmax <<= 2 * (place.channel % kArgmaxPerWord);
  own_active <<= place.channel % kActivePerWord;
  own_argmax = join_bits<kArgmaxPerWord / kWidth<T>>(own_argmax);
  own_active = join_bits<kActivePerWord / kWidth<T>>(own_active);
  if (inside && place.channel % kArgmaxPerWord == 0) argmax.store(out / kArgmaxPerWord, own_argmax);
  if (inside && place.channel % kActivePerWord == 0) active.store(out / kActivePerWord, own_active);
}

// Runs over the windows that cover the whole input: those cut off by an odd edge have no output, and what is
// there of them becomes zero.
template <class T>
__global__ void __launch_bounds__(kThreads)
    max_pool_gradient_kernel(Global<const T> output_gradient, Global<const std::uint32_t> argmax,
                             Global<const std::uint32_t> active, Global<T> input_gradient, int height,
                             int width, int channels) {
  using Values = Vector<T, kWidth<T>>;
  const int out_height = height / 2;
  const int out_width = width / 2;
  const int covering_height = ceil_div(height, 2);
  const Place place = place_of_thread<T>(channels);
  if (2 * place.column >= width) return;
  const std::int64_t image = place.row / covering_height;
  const int row = place.row % covering_height;
  const T zero = from_float<T>(0.f);
  Values gradient{};
  std::uint32_t own_argmax = 0;
  std::uint32_t own_active = 0;
  if (row < out_height && place.column < out_width) {
    const std::int64_t out =
        ((image * out_height + row) * out_width + place.column) * channels + place.channel;
    gradient = output_gradient.template load_vector<kWidth<T>>(out);
    own_argmax = argmax.load(out / kArgmaxPerWord) >> 2 * (place.channel % kArgmaxPerWord);
    own_active = active.load(out / kActivePerWord) >> place.channel % kActivePerWord;
  }
#pragma unroll
  for (int c = 0; c < kWidth<T>; ++c) {
    if ((own_active >> c & 1u) == 0) gradient[c] = zero;
  }
#pragma unroll
  for (int i = 0; i < kWindow; ++i) {
    const int y = 2 * row + i / 2;
    const int x = 2 * place.column + i % 2;
    if (y >= height || x >= width) continue;
    Values values;
#pragma unroll
    for (int c = 0; c < kWidth<T>; ++c) {
      values[c] = (own_argmax >> 2 * c & 3u) == static_cast<std::uint32_t>(i) ? gradient[c] : zero;
    }
    input_gradient.template store_vector<kWidth<T>>(
        ((image * height + y) * width + x) * channels + place.channel, values);
  }
}

}  // namespace

template <class T>
void max_pool(const MaxPoolArguments<T>& arguments, cudaStream_t stream) {
  launch(
      "max_pool", max_pool_kernel<T>,
      launch_shape<T>(arguments.images_count, arguments.height / 2, arguments.width / 2, arguments.channels),
      stream, arguments.input, arguments.output, arguments.argmax, arguments.active, arguments.height,
      arguments.width, arguments.channels);
}

template <class T>
void max_pool_gradient(const MaxPoolGradientArguments<T>& arguments, cudaStream_t stream) {
  launch("max_pool_gradient", max_pool_gradient_kernel<T>,
         launch_shape<T>(arguments.images_count, ceil_div(arguments.height, 2), ceil_div(arguments.width, 2),
                         arguments.channels),
         stream, arguments.output_gradient, arguments.argmax, arguments.active, arguments.input_gradient,
         arguments.height, arguments.width, arguments.channels);
}

template void max_pool(const MaxPoolArguments<float>&, cudaStream_t);
template void max_pool(const MaxPoolArguments<Half>&, cudaStream_t);
template void max_pool(const MaxPoolArguments<Bfloat16>&, cudaStream_t);
template void max_pool_gradient(const MaxPoolGradientArguments<float>&, cudaStream_t);
template void max_pool_gradient(const MaxPoolGradientArguments<Half>&, cudaStream_t);
template void max_pool_gradient(const MaxPoolGradientArguments<Bfloat16>&, cudaStream_t);

}  // namespace filterscope::kernels
