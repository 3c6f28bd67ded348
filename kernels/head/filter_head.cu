// Floor: for a map of 96 x 96 x 64 in 16 bits the head reads 1.2 MB and its gradient writes 1.2 MB, each for
// 11 MFLOP in fp32. On an H200 that is 0.27 us of memory against 0.16 us of arithmetic each. The head only
// writes sums and active bits (1.2 kB), and its gradient only reads these and the ReLU mask. A full
// convolution would write the responses of every filter and read them again for ReLU and mean.
#include "../common/channel_lanes.h"
#include "../common/global.h"
#include "../common/launch.h"
#include "../common/reduce.h"
#include "../ptx/cp_async.h"
#include "active_positions.h"
#include "filter_head.h"

namespace filterscope::kernels {
namespace {

constexpr int kThreads = 128;
constexpr int kWarps = kThreads / kWarpSize;
constexpr int kTaps = 9;

// A warp computes 32 consecutive positions, a word of active bits, regardless of the ends of rows. Eight
// lanes share the channels, and each thread computes 8 consecutive positions. For one row of the filter these
// need 10 consecutive positions of the map, from each of which a thread loads 16 bytes and eight lanes a full
// line. Beyond the left or right edge those belong to the wrong end of a neighbouring row; the sums of the
// filter's three columns are therefore kept apart, and the invalid ones dropped at the end. This needs no
// halo, and small maps fill warps as well as large ones. Neighbouring threads load the same lines several
// times, from L1. The weights of the image's filter are in shared memory. On deep maps, with few positions
// and many channels, several warps split the channels of a word.

constexpr int kRun = kWordPositions / kPositionGroups;
static_assert(kRun == kChannelLanes, "each lane ends up with one position");

template <class T>
constexpr int kTapQuads = kChannelChunk<T> / 4;
template <class T>
constexpr int kChunkQuads = kTaps* kTapQuads<T>;

/// Adds the products of one row of the filter and one chunk of channels to the sums of the filter's columns.
/// The run of inputs starts at position `from` of the map; this lane's words of it start at index `at`,
/// `pitch` words per position. Inputs outside [0, positions) count as zero; a lane without channels passes
/// positions = 0.
template <class T>
__device__ inline void add_products(float (&column_sums)[3][kRun], Global<const std::uint32_t> input,
                                    std::int64_t at, int pitch, int from, int positions, const auto& taps,
                                    int taps_at) {
  Words values[kRun + 2];
#pragma unroll
  for (int i = 0; i < kRun + 2; ++i) {
    values[i] = Words{};
    if (static_cast<unsigned>(from + i) < static_cast<unsigned>(positions)) {
      values[i] = input.load_vector<4>(at);
    }
    at += pitch;
  }
#pragma unroll
  for (int quad = 0; quad < kQuadsPerVector<T>; ++quad) {
    Quad weight[3];
#pragma unroll
    for (int s = 0; s < 3; ++s) weight[s] = taps[taps_at + s * kTapQuads<T> + quad * kChannelLanes];
#pragma unroll
    for (int i = 0; i < kRun + 2; ++i) {
#pragma unroll
      for (int c = 0; c < 4; ++c) {
        const float value = word_value<T>(values[i], quad * 4 + c);
#pragma unroll
        for (int s = 0; s < 3; ++s) {
          if (i - s >= 0 && i - s < kRun) column_sums[s][i - s] += value * weight[s][c];
        }
      }
    }
  }
}

template <class T, class Window>
__global__ void __launch_bounds__(kThreads, 4)
    filter_head_kernel(Global<const std::uint32_t> input, Global<const float> weights,
                       Global<const float> bias, Global<const int> filters, Global<float> sums,
                       Global<std::uint32_t> active, int positions, int width, int channels, int chunks,
                       int warps_per_word, Window window) {
  FILTERSCOPE_DYNAMIC_SHARED(Quad, taps);  // [chunk][row][column][quad][lane]
  FILTERSCOPE_SHARED(float, partial, 2 * kThreads);

  const int thread = static_cast<int>(threadIdx.x);
  const int lane = thread % kChannelLanes;
  const int group = thread % kWarpSize / kChannelLanes;
  const int warp = thread / kWarpSize;
  const int image = static_cast<int>(blockIdx.y);
  const int part = static_cast<int>(blockIdx.x);
  const int filter = filters.load(image);

  const std::int64_t filter_at = static_cast<std::int64_t>(filter) * kTaps * channels;
  for (int i = thread; i < chunks * kChunkQuads<T>; i += kThreads) {
    const int chunk = i / kChunkQuads<T>;
    const int tap = i / kTapQuads<T> % kTaps;
    const int place = i % kTapQuads<T>;
    const int channel =
        chunk * kChannelChunk<T> + quad_channel<T>(place / kChannelLanes, place % kChannelLanes);
    const bool exists = channel < channels;  // The last chunk may have fewer.
    ptx::cp_async_16(&taps[i], weights.vector_address<4>(exists ? filter_at + tap * channels + channel : 0),
                     exists);
  }
  ptx::cp_async_commit();
  const float offset = bias.load(filter);
  ptx::cp_async_wait<0>();
  __syncthreads();

  const int words = ceil_div(positions, kWordPositions);
  const int first_word = part * words_per_part(positions);
  const int end_word = min(first_word + words_per_part(positions), words);
  const int words_at_once = kWarps / warps_per_word;
  const int slice = warp % warps_per_word;
  const std::int64_t image_at = static_cast<std::int64_t>(image) * positions;
  const int pitch = channels / kValuesPerWord<T>;
  float sum = 0.f;
  int buffer = 0;
  for (int step = first_word; step < end_word; step += words_at_once) {
    const int word = step + warp / warps_per_word;
    float responses[kRun] = {};
    if (word < end_word) {
      const int first = word * kWordPositions + group * kRun;
      float column_sums[3][kRun] = {};
      for (int chunk = slice; chunk < chunks; chunk += warps_per_word) {
        const int channel = chunk * kChannelChunk<T> + lane * kVectorSize<T>;
#pragma unroll 1
        for (int r = 0; r < 3; ++r) {
          const int from = first + (r - 1) * width - 1;
          add_products<T>(column_sums, input, (image_at + from) * pitch + channel / kValuesPerWord<T>, pitch,
                          from, channel < channels ? positions : 0, taps,
                          chunk * kChunkQuads<T> + r * 3 * kTapQuads<T> + lane);
        }
      }
      int column = first % width;
#pragma unroll
      for (int i = 0; i < kRun; ++i) {
        responses[i] = column_sums[1][i];
        if (column > 0) responses[i] += column_sums[0][i];
        if (column < width - 1) responses[i] += column_sums[2][i];
        column = column < width - 1 ? column + 1 : 0;
      }
    }
    sum_over_channel_lanes(responses);
    float response = responses[0];
    if (warps_per_word > 1) {
      partial[buffer * kThreads + thread] = response;
      __syncthreads();
      for (int other_slice = 1; slice == 0 && other_slice < warps_per_word; ++other_slice) {
        response += partial[buffer * kThreads + thread + other_slice * kWarpSize];
      }
      buffer ^= 1;  // A warp may already write the next word's partial sums while another still reads these.
    }
    if (slice == 0 && word < end_word) {
      const int position = word * kWordPositions + thread % kWarpSize;
      sum += active_word(active, static_cast<std::int64_t>(image) * words + word, response + offset,
                         position < positions, window, position, width);
    }
  }
  sum = block_reduce<Sum, kThreads>(sum);
  if (thread == 0) sums.store(image * kFilterHeadParts + part, sum);
}

}  // namespace

template <class T>
void filter_head(const FilterHeadArguments<T>& arguments, cudaStream_t stream) {
  const int chunks = ceil_div(arguments.channels, kChannelChunk<T>);
  const int warps_per_word = chunks >= 4 ? 4 : chunks >= 2 ? 2 : 1;
  with_window(arguments.window, [&]<class Window>(const Window& window) {
    launch("filter_head", filter_head_kernel<T, Window>,
           {dim3(kFilterHeadParts, static_cast<unsigned>(arguments.images_count)), dim3(kThreads),
            static_cast<std::size_t>(chunks) * kChunkQuads<T> * sizeof(Quad)},
           stream, reinterpret_cast<const std::uint32_t*>(arguments.input), arguments.weights, arguments.bias,
           arguments.filters, arguments.sums, arguments.active, arguments.height * arguments.width,
           arguments.width, arguments.channels, chunks, warps_per_word, window);
  });
}

template void filter_head(const FilterHeadArguments<float>&, cudaStream_t);
template void filter_head(const FilterHeadArguments<Half>&, cudaStream_t);
template void filter_head(const FilterHeadArguments<Bfloat16>&, cudaStream_t);

}  // namespace filterscope::kernels
