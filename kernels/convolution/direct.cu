// 3x3 convolution on CUDA cores: it serves every type and number of channels, and the faster kernels are
// checked against it on a device.
//
// Floor: 9 * in_channels multiply-adds per output, 32 to 4608 for each element moved, so the kernel is bound
// by arithmetic; for float, by the peak rate of the CUDA cores. Bias, ReLU and masks are applied to the
// accumulators in registers, where they cost nothing; as separate passes each would read and write the output
// again.
//
// The convolution is a matrix product. The first matrix has one row per position (of all images) and 9 *
// in_channels columns; its rows are gathered from the input when a slice of columns is loaded to shared
// memory, and never stored. The second holds the weights. A block computes kPositions x kFilters outputs, a
// thread 8 x 8 (or 8 x 4) of them, so that each value from shared memory is used 8 times (or 4). A slice is
// 64 bytes of one tap's channels; all taps come before the channels advance, since they read the same lines.
// The next slice is loaded to registers while the current one is multiplied. One thread adds up each output,
// always in the same order, so that the result does not depend on the image's place in the batch.
#include "../common/global.h"
#include "../common/launch.h"
#include "../common/reduce.h"
#include "convolution.h"

namespace filterscope::kernels {
namespace {

constexpr int kThreads = 128;
constexpr int kPositions = 128;  // Per block.
constexpr int kTaps = 9;
constexpr int kFilterThreads = 8;  // Threads along the filters: 4 filters each, together a word of the mask.
constexpr int kWordBits = 32;
constexpr int kGroup = 4;  // Consecutive positions or filters in shared memory and in a thread.
constexpr int kPositionGroups = kPositions / kGroup;
constexpr int kThreadPositions = kPositions / (kThreads / kFilterThreads);
constexpr int kSliceVectors = 4;  // A slice's width in vectors of 16 bytes.
constexpr int kRowsPerLoad = kThreads / kSliceVectors;
constexpr int kInputLoads = kPositions / kRowsPerLoad;

using Group = Vector<float, kGroup>;

template <class T>
constexpr int kWidth = 16 / sizeof(T);

/// Index of group `group` in row `channel` of a tile in shared memory. A thread stores a vector of one
/// position's channels to as many rows; exchanging the groups spreads a warp's stores over different banks.
template <class T, int kGroups>
__device__ inline int tile_index(int channel, int group) {
  return channel * kGroups + (group ^ channel / kWidth<T> * 2);
}

template <class T, int kFilters>
__global__ void __launch_bounds__(kThreads)
    convolution_direct_kernel(Global<const T> input, Global<const T> weights, Global<const float> bias,
                              Global<T> output, Global<std::uint32_t> mask_out,
                              Global<const std::uint32_t> mask_in, std::int64_t positions, int height,
                              int width, int in_channels, int out_channels) {
  constexpr int kSlice = kSliceVectors * kWidth<T>;
  constexpr int kFilterGroups = kFilters / kGroup;
  constexpr int kWeightLoads = kFilters / kRowsPerLoad;
  constexpr int kWords = kFilters / kWordBits;
  using Values = Vector<T, kWidth<T>>;
  FILTERSCOPE_SHARED(Group, input_tile, kSlice * kPositionGroups);
  FILTERSCOPE_SHARED(Group, weight_tile, kSlice * kFilterGroups);

  const int thread = static_cast<int>(threadIdx.x);
  // Neighbouring blocks read the same input.
  const int filter_blocks = out_channels / kFilters;
  const int first_filter = static_cast<int>(blockIdx.x) % filter_blocks * kFilters;
  const std::int64_t first_position = std::int64_t{static_cast<int>(blockIdx.x) / filter_blocks} * kPositions;

  // This thread loads one vector of channels for each of kInputLoads positions and kWeightLoads filters.
  const int load_vector = thread % kSliceVectors;
  const int load_row = thread / kSliceVectors;
  unsigned taps_inside[kInputLoads];  // Bit 3 r + s: tap (r, s) of the position lies in the image.
#pragma unroll
  for (int i = 0; i < kInputLoads; ++i) {
    const std::int64_t position = first_position + load_row + i * kRowsPerLoad;
    taps_inside[i] = 0;
    if (position >= positions) continue;
    const int x = static_cast<int>(position % width);
    const int y = static_cast<int>(position / width % height);
    for (int tap = 0; tap < kTaps; ++tap) {
      const int from_y = y + tap / 3 - 1;
      const int from_x = x + tap % 3 - 1;
      if (from_y >= 0 && from_y < height && from_x >= 0 && from_x < width) taps_inside[i] |= 1u << tap;
    }
  }
  const std::int64_t load_input = (first_position + load_row) * in_channels + load_vector * kWidth<T>;
  const std::int64_t load_weights =
      std::int64_t{first_filter + load_row} * kTaps * in_channels + load_vector * kWidth<T>;
  Values next_input[kInputLoads];
  Values next_weights[kWeightLoads];
  const auto load = [&](int channel, int tap) {
    const std::int64_t shift = (std::int64_t{tap / 3 - 1} * width + tap % 3 - 1) * in_channels + channel;
#pragma unroll
    for (int i = 0; i < kInputLoads; ++i) {
      next_input[i] = Values{};
      if ((taps_inside[i] >> tap & 1u) != 0) {
        next_input[i] = input.template load_vector<kWidth<T>>(load_input + shift +
                                                              std::int64_t{i * kRowsPerLoad} * in_channels);
      }
    }
#pragma unroll
    for (int i = 0; i < kWeightLoads; ++i) {
      next_weights[i] = weights.template load_vector<kWidth<T>>(
          load_weights + (std::int64_t{i * kRowsPerLoad} * kTaps + tap) * in_channels + channel);
    }
  };

  // It computes groups of kGroup positions and filters, interleaved with those of the other threads.
  const int filter_thread = thread % kFilterThreads;
  const int position_thread = thread / kFilterThreads;
  float accumulators[kThreadPositions][kWords * kGroup] = {};

  load(0, 0);
  for (int channel = 0, tap = 0; channel < in_channels;) {
    __syncthreads();
#pragma unroll
    for (int c = 0; c < kWidth<T>; ++c) {
      const int row = load_vector * kWidth<T> + c;
#pragma unroll
      for (int i = 0; i < kInputLoads; ++i) {
        const int position = load_row + i * kRowsPerLoad;
        input_tile[tile_index<T, kPositionGroups>(row, position / kGroup)][position % kGroup] =
            to_float(next_input[i][c]);
      }
#pragma unroll
      for (int i = 0; i < kWeightLoads; ++i) {
        const int filter = load_row + i * kRowsPerLoad;
        weight_tile[tile_index<T, kFilterGroups>(row, filter / kGroup)][filter % kGroup] =
            to_float(next_weights[i][c]);
      }
    }
    __syncthreads();
    if (++tap == kTaps) {
      tap = 0;
      channel += kSlice;
    }
    if (channel < in_channels) load(channel, tap);
#pragma unroll 4
    for (int row = 0; row < kSlice; ++row) {
      Group from_input[kThreadPositions / kGroup];
      Group from_weights[kWords];
#pragma unroll
      for (int i = 0; i < kThreadPositions / kGroup; ++i) {
        from_input[i] = input_tile[tile_index<T, kPositionGroups>(
            row, i * (kThreads / kFilterThreads) + position_thread)];
      }
#pragma unroll
      for (int i = 0; i < kWords; ++i) {
        from_weights[i] = weight_tile[tile_index<T, kFilterGroups>(row, i * kFilterThreads + filter_thread)];
      }
#pragma unroll
      for (int p = 0; p < kThreadPositions; ++p) {
#pragma unroll
        for (int f = 0; f < kWords * kGroup; ++f) {
          accumulators[p][f] += from_input[p / kGroup][p % kGroup] * from_weights[f / kGroup][f % kGroup];
        }
      }
    }
  }

  float biases[kWords * kGroup] = {};
  if (bias) {
#pragma unroll
    for (int f = 0; f < kWords * kGroup; ++f) {
      biases[f] = bias.load(first_filter + f / kGroup * kWordBits + filter_thread * kGroup + f % kGroup);
    }
  }
#pragma unroll
  for (int p = 0; p < kThreadPositions; ++p) {
    const std::int64_t position =
        first_position + (p / kGroup * (kThreads / kFilterThreads) + position_thread) * kGroup + p % kGroup;
    const bool inside = position < positions;
#pragma unroll
    for (int word = 0; word < kWords; ++word) {
      const int filter = first_filter + word * kWordBits + filter_thread * kGroup;
      const std::int64_t at = position * out_channels + filter;
      std::uint32_t own_mask_in = ~0u;
      if (mask_in && inside) own_mask_in = mask_in.load(at / kWordBits) >> at % kWordBits;
      Vector<T, kGroup> values;
      std::uint32_t own_mask_out = 0;
#pragma unroll
      for (int f = 0; f < kGroup; ++f) {
        float value = accumulators[p][word * kGroup + f];
        if (bias) {
          value += biases[word * kGroup + f];
          if (value <= 0.f) value = 0.f;  // NaN stays NaN and shows in the loss.
        }
        if ((own_mask_in >> f & 1u) == 0) value = 0.f;
        values[f] = from_float<T>(value);
        own_mask_out |= std::uint32_t{to_float(values[f]) > 0.f} << f;
      }
      if (inside) output.template store_vector<kGroup>(at, values);
      if (mask_out) {
        const std::uint32_t whole = join_bits<kFilterThreads>(own_mask_out << filter % kWordBits);
        if (inside && filter_thread == 0) mask_out.store(at / kWordBits, whole);
      }
    }
  }
}

}  // namespace

template <class T>
void convolution_direct(const ConvolutionArguments<T>& arguments, cudaStream_t stream) {
  const bool wide = arguments.out_channels % 64 == 0;
  const auto kernel = wide ? convolution_direct_kernel<T, 64> : convolution_direct_kernel<T, 32>;
  const std::int64_t positions = std::int64_t{arguments.images_count} * arguments.height * arguments.width;
  const std::int64_t blocks =
      ceil_div(positions, std::int64_t{kPositions}) * (arguments.out_channels / (wide ? 64 : 32));
  launch("convolution_direct", kernel, {dim3(static_cast<unsigned>(blocks)), dim3(kThreads)}, stream,
         arguments.input, arguments.weights, arguments.bias, arguments.output, arguments.mask_out,
         arguments.mask_in, positions, arguments.height, arguments.width, arguments.in_channels,
         arguments.out_channels);
}

template void convolution_direct(const ConvolutionArguments<float>&, cudaStream_t);
template void convolution_direct(const ConvolutionArguments<Half>&, cudaStream_t);
template void convolution_direct(const ConvolutionArguments<Bfloat16>&, cudaStream_t);

}  // namespace filterscope::kernels
