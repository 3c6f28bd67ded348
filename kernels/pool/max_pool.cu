// 2x2 max-pool of stride 2 and its gradient.
//
// Floor per output: the pool reads four elements and writes one and 3 bits; its gradient reads one and the
// bits and writes four. Without the bits, separate gradients of pool (six elements read, four written) and
// ReLU (eight read, four written) would move 22 elements instead of 5.
//
// A thread computes 16 bytes of consecutive channels of one window; neighbouring lanes take neighbouring
// vectors, so that all accesses are coalesced. Several lanes share a word of bits and combine their parts by
// shuffles. A block stays within one row of windows, so that one division locates it.
#include "../common/global.h"
#include "../common/launch.h"
#include "../common/reduce.h"
#include "max_pool.h"

namespace filterscope::kernels {
namespace {

constexpr int kThreads = 128;
constexpr int kWindow = 4;  // Elements per window, row by row.
constexpr int kArgmaxPerWord = 16;
constexpr int kActivePerWord = 32;

template <class T>
constexpr int kWidth = 16 / sizeof(T);

// The vector of channels of one window that a thread computes.
struct ThreadVector {
  int row;     // Row of windows, over all images.
  int column;  // Column of windows; beyond the last where the thread has nothing to do.
  int channel;
};

template <class T>
__device__ inline ThreadVector thread_vector(int channels) {
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
  const ThreadVector vector = thread_vector<T>(channels);
  // Lanes that share a word are all inside or all outside; all take part in the shuffles.
  const bool inside = vector.column < out_width;
  const std::int64_t out = (std::int64_t{vector.row} * out_width + vector.column) * channels + vector.channel;
  std::uint32_t argmax_bits = 0;
  std::uint32_t active_bits = 0;
  if (inside) {
    const std::int64_t image = vector.row / out_height;
    const int y = 2 * (vector.row % out_height);
    const std::int64_t in = ((image * height + y) * width + 2 * vector.column) * channels + vector.channel;
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
        // A NaN wins and stays, so that it shows in the loss.
        if (value > to_float(best[c]) || value != value) {
          largest = static_cast<std::uint32_t>(i);
          best[c] = window[i][c];
        }
      }
      argmax_bits |= largest << 2 * c;
      active_bits |= std::uint32_t{to_float(best[c]) > 0.f} << c;
    }
    output.template store_vector<kWidth<T>>(out, best);
  }
  if (!argmax) return;
  argmax_bits <<= 2 * (vector.channel % kArgmaxPerWord);
  active_bits <<= vector.channel % kActivePerWord;
  argmax_bits = join_bits<kArgmaxPerWord / kWidth<T>>(argmax_bits);
  active_bits = join_bits<kActivePerWord / kWidth<T>>(active_bits);
  if (inside && vector.channel % kArgmaxPerWord == 0) argmax.store(out / kArgmaxPerWord, argmax_bits);
  if (inside && vector.channel % kActivePerWord == 0) active.store(out / kActivePerWord, active_bits);
}

// Runs over the windows that cover the whole input. Those cut off by an odd edge have no output; the gradient
// of their elements is zero.
template <class T>
__global__ void __launch_bounds__(kThreads)
    max_pool_gradient_kernel(Global<const T> output_gradient, Global<const std::uint32_t> argmax,
                             Global<const std::uint32_t> active, Global<T> input_gradient, int height,
                             int width, int channels) {
  using Values = Vector<T, kWidth<T>>;
  const int out_height = height / 2;
  const int out_width = width / 2;
  const int covering_height = ceil_div(height, 2);
  const ThreadVector vector = thread_vector<T>(channels);
  if (2 * vector.column >= width) return;
  const std::int64_t image = vector.row / covering_height;
  const int row = vector.row % covering_height;
  const T zero = from_float<T>(0.f);
  Values gradient{};
  std::uint32_t argmax_bits = 0;
  std::uint32_t active_bits = 0;
  if (row < out_height && vector.column < out_width) {
    const std::int64_t out =
        ((image * out_height + row) * out_width + vector.column) * channels + vector.channel;
    gradient = output_gradient.template load_vector<kWidth<T>>(out);
    argmax_bits = argmax.load(out / kArgmaxPerWord) >> 2 * (vector.channel % kArgmaxPerWord);
    active_bits = active.load(out / kActivePerWord) >> vector.channel % kActivePerWord;
  }
#pragma unroll
  for (int c = 0; c < kWidth<T>; ++c) {
    if ((active_bits >> c & 1u) == 0) gradient[c] = zero;
  }
#pragma unroll
  for (int i = 0; i < kWindow; ++i) {
    const int y = 2 * row + i / 2;
    const int x = 2 * vector.column + i % 2;
    if (y >= height || x >= width) continue;
    Values values;
#pragma unroll
    for (int c = 0; c < kWidth<T>; ++c) {
      values[c] = (argmax_bits >> 2 * c & 3u) == static_cast<std::uint32_t>(i) ? gradient[c] : zero;
    }
    input_gradient.template store_vector<kWidth<T>>(
        ((image * height + y) * width + x) * channels + vector.channel, values);
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
