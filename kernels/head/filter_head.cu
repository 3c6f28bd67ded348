// What an image's map costs, for 96 x 96 x 64 in 16 bits: forward 1.2 MB read for 11 MFLOP, backward 1.2 MB
// written for 11 MFLOP, in fp32: on an H200 0.27 us of memory over 0.16 us of arithmetic each way. Sums and
// bits of the active positions are all that forward writes (1.2 kB), and all that backward reads beside the
// mask. A full convolution would write the responses of every filter and read them again for ReLU and mean.
#include "../common/channel_lanes.h"
#include "../common/global.h"
#include "../common/launch.h"
#include "../common/reduce.h"
#include "../first_layer/dgrad.h"
#include "../first_layer/mapped_image.h"
#include "../ptx/cp_async.h"
#include "../relu/relu_mask_reader.h"
#include "filter_head.h"

namespace filterscope::kernels {
namespace {

constexpr int kTaps = 9;
constexpr int kHeadThreads = 128;
constexpr int kHeadWarps = kHeadThreads / kWarpSize;
constexpr int kWord = 32;  // Positions of a word of active bits.
static_assert(kWord == kWarpSize, "a warp's vote is a word");

/// The words that a part of the sums covers. Parts consist of whole words so that only one block writes each.
__host__ __device__ constexpr int words_per_part(int positions) {
  return ceil_div(ceil_div(positions, kWord), kFilterHeadParts);
}

/// Each lane has the response of its position of a word: stores the word, returns the response after ReLU.
/// All lanes of the warp must call it.
__device__ inline float active_word(Global<std::uint32_t> active, std::int64_t word, float response,
                                    bool inside) {
  const unsigned bits = __ballot_sync(kFullWarp, inside && response > 0.f);
  if (threadIdx.x % kWarpSize == 0) active.store(word, bits);
  return inside && !(response <= 0.f) ? response : 0.f;  // NaN stays.
}

// Forward. A warp computes 32 consecutive positions, whole rows or not: a word of the bits. Eight lanes share
// the channels and each thread computes 8 consecutive positions. What these need of a row of the filter lies
// in 10 consecutive positions of the map, of which it loads 16 bytes each: eight lanes a full line. Beyond
// the left or right edge that is the wrong end of a neighbouring row, so the sums of the three columns of the
// filter are kept apart and the wrong ones left out in the end; this spares the halo, and small maps fill
// warps as well as large ones. Neighbouring threads load the same lines several times, from L1. The weights
// of the image's filter lie in shared memory. On deep maps, where positions are few and channels many,
// several warps split the channels of a word.

constexpr int kRun = kWord / kPositionGroups;
static_assert(kRun == kChannelLanes, "each lane ends up with one position");

template <class T>
constexpr int kTapQuads = kChannelChunk<T> / 4;
template <class T>
constexpr int kChunkQuads = kTaps* kTapQuads<T>;

/// Adds the products of one row of the filter and one chunk of channels to the sums of the filter's columns.
/// The row's first products are with position `from` of the map, whose words, `pitch` to a position, start
/// for this lane at `at`. Positions outside of the map, `positions`, are zero; if it is 0, the lane has no
/// channels.
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

template <class T>
__global__ void __launch_bounds__(kHeadThreads, 4)
    filter_head_kernel(Global<const std::uint32_t> input, Global<const float> weights,
                       Global<const float> bias, Global<const int> filters, Global<float> sums,
                       Global<std::uint32_t> active, int positions, int width, int channels, int chunks,
                       int warps_per_word) {
  FILTERSCOPE_DYNAMIC_SHARED(Quad, taps);  // [chunk][row][column][quad][lane]
  FILTERSCOPE_SHARED(float, partial, 2 * kHeadThreads);

  const int thread = static_cast<int>(threadIdx.x);
  const int lane = thread % kChannelLanes;
  const int group = thread % kWarpSize / kChannelLanes;
  const int warp = thread / kWarpSize;
  const int image = static_cast<int>(blockIdx.y);
  const int part = static_cast<int>(blockIdx.x);
  const int filter = filters.load(image);

  const std::int64_t filter_at = static_cast<std::int64_t>(filter) * kTaps * channels;
  for (int i = thread; i < chunks * kChunkQuads<T>; i += kHeadThreads) {
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

  const int words = ceil_div(positions, kWord);
  const int first_word = part * words_per_part(positions);
  const int end_word = min(first_word + words_per_part(positions), words);
  const int words_at_once = kHeadWarps / warps_per_word;
  const int slice = warp % warps_per_word;
  const std::int64_t image_at = static_cast<std::int64_t>(image) * positions;
  const int pitch = channels / kValuesPerWord<T>;
  float sum = 0.f;
  int buffer = 0;
  for (int step = first_word; step < end_word; step += words_at_once) {
    const int word = step + warp / warps_per_word;
    float responses[kRun] = {};
    if (word < end_word) {
      const int first = word * kWord + group * kRun;
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
      partial[buffer * kHeadThreads + thread] = response;
      __syncthreads();
      for (int other = 1; slice == 0 && other < warps_per_word; ++other) {
        response += partial[buffer * kHeadThreads + thread + other * kWarpSize];
      }
      buffer ^= 1;  // A warp may write the next word's while another still reads these.
    }
    if (slice == 0 && word < end_word) {
      const int position = word * kWord + thread % kWarpSize;
      sum += active_word(active, static_cast<std::int64_t>(image) * words + word, response + offset,
                         position < positions);
    }
  }
  sum = block_reduce<Sum, kHeadThreads>(sum);
  if (thread == 0) sums.store(image * kFilterHeadParts + part, sum);
}

// Backward. The gradient of a position is the sum of up to 9 of the filter's taps: which, is the same for all
// its channels. A block takes 256 positions and one chunk of channels; each thread first finds out the nine
// factors of one position, the scale or zero. Then a thread keeps the 9 x 8 weights of its channels in
// registers and goes over 8 positions: it reads their factors (broadcast), does 72 multiply-adds and stores
// 16 bytes, a warp four full lines. Whether the image is rescued, each block finds out by itself from the
// eight sums that the way forward left, one line that all its threads share.

constexpr int kGradientThreads = 256;
constexpr int kFactorQuads = ceil_div(kTaps, 4);

/// Whether the image is rescued: its filter's response is zero at every position. Sums of what is not
/// negative are zero only then; one that is not a number is not.
__device__ inline bool is_rescued(Global<const float> sums, int image) {
  if (!sums) return false;
  static_assert(kFilterHeadParts == 8);
  const std::int64_t at = std::int64_t{image} * kFilterHeadParts;
  const Quad first = sums.load_vector<4>(at);
  const Quad second = sums.load_vector<4>(at + 4);
  bool zero = true;
#pragma unroll
  for (int i = 0; i < 4; ++i) zero = zero && first[i] == 0.f && second[i] == 0.f;
  return zero;
}

/// What the filter's taps are multiplied with at position y, x: the scale where the position that the tap
/// gave to is in the map and active, or the image rescued, else zero.
__device__ inline void tap_factors(float* factors, Global<const std::uint32_t> active, bool rescued,
                                   int image, int y, int x, int height, int width, float scale) {
  const std::uint32_t always = rescued ? ~std::uint32_t{0} : 0;
  const std::int64_t image_at = static_cast<std::int64_t>(image) * ceil_div(height * width, kWord);
#pragma unroll
  for (int r = 0; r < 3; ++r) {
    const bool row_inside = static_cast<unsigned>(y + 1 - r) < static_cast<unsigned>(height);
#pragma unroll
    for (int s = 0; s < 3; ++s) {
      const auto position = static_cast<unsigned>((y + 1 - r) * width + x + 1 - s);
      std::uint32_t word = 0;
      if (row_inside && static_cast<unsigned>(x + 1 - s) < static_cast<unsigned>(width)) {
        word = active.load(image_at + position / kWord) | always;
      }
      factors[r * 3 + s] = (word >> (position % kWord) & 1u) != 0 ? scale : 0.f;
    }
  }
}

template <class T, MaskFormat kFormat>
__global__ void __launch_bounds__(kGradientThreads, 2)
    filter_head_gradient_kernel(Global<const std::uint32_t> active, Global<const float> response_sums,
                                Global<const float> weights, Global<const int> filters,
                                ReluMaskReader<kFormat, T> mask, float scale, Global<T> gradient, int height,
                                int width, int channels) {
  FILTERSCOPE_SHARED(Quad, factors, kGradientThreads * kFactorQuads);

  const int thread = static_cast<int>(threadIdx.x);
  const int lane = thread % kChannelLanes;
  const int image = static_cast<int>(blockIdx.y);
  const int chunks = ceil_div(channels, kChannelChunk<T>);
  const int channel = static_cast<int>(blockIdx.x) % chunks * kChannelChunk<T> + lane * kVectorSize<T>;
  const int first = static_cast<int>(blockIdx.x) / chunks * kGradientThreads;
  const int positions = height * width;

  float own[4 * kFactorQuads] = {};
  tap_factors(own, active, is_rescued(response_sums, image), image, (first + thread) / width,
              (first + thread) % width, height, width, scale);
#pragma unroll
  for (int i = 0; i < kFactorQuads; ++i) {
    factors[thread * kFactorQuads + i] = {own[4 * i], own[4 * i + 1], own[4 * i + 2], own[4 * i + 3]};
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
  constexpr int kStep = kGradientThreads / kChannelLanes;
  std::int64_t at = (image_at + first + thread / kChannelLanes) * channels + channel;
#pragma unroll 1
  for (int i = thread / kChannelLanes; i < min(kGradientThreads, positions - first); i += kStep) {
    const typename ReluMaskReader<kFormat, T>::Loaded passes = mask.load(at);
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
      result[c] = from_float<T>(mask.active(passes, c) ? sums[c] : 0.f);
    gradient.template store_vector<kVectorSize<T>>(at, result);
    at += kStep * channels;
  }
}

// The first layer's filters see 27 values of the image itself. They are few, and the image is small: a thread
// to a position, each value from L1.

constexpr int kImageTaps = 27;

__global__ void __launch_bounds__(kHeadThreads)
    image_head_kernel(MappedImages input, Global<const float> weights, Global<const float> bias,
                      Global<const int> filters, Global<float> sums, Global<std::uint32_t> active) {
  const int thread = static_cast<int>(threadIdx.x);
  const int image = static_cast<int>(blockIdx.y);
  const int part = static_cast<int>(blockIdx.x);
  const int filter = filters.load(image);
  float weight[kImageTaps];
#pragma unroll
  for (int i = 0; i < kImageTaps; ++i) weight[i] = weights.load(filter * kImageTaps + i);
  const float offset = bias.load(filter);

  const int positions = input.height * input.width;
  const int words = ceil_div(positions, kWord);
  const int first_word = part * words_per_part(positions);
  const int end_word = min(first_word + words_per_part(positions), words);
  float sum = 0.f;
  for (int word = first_word + thread / kWarpSize; word < end_word; word += kHeadWarps) {
    const int position = word * kWord + thread % kWarpSize;
    const int y = position / input.width;
    const int x = position % input.width;
    float response = offset;
#pragma unroll
    for (int tap = 0; tap < kTaps; ++tap) {
      const Pixel pixel = input.load(image, y + tap / 3 - 1, x + tap % 3 - 1);
#pragma unroll
      for (int c = 0; c < 3; ++c) response += pixel.channels[c] * weight[tap * 3 + c];
    }
    sum +=
        active_word(active, static_cast<std::int64_t>(image) * words + word, response, position < positions);
  }
  sum = block_reduce<Sum, kHeadThreads>(sum);
  if (thread == 0) sums.store(image * kFilterHeadParts + part, sum);
}

__global__ void __launch_bounds__(kGradientThreads)
    image_head_gradient_kernel(Global<const std::uint32_t> active, Global<const float> response_sums,
                               Global<const float> weights, Global<const int> filters, InputMap map,
                               float scale, Global<float> image_gradients, Global<float> squares, int height,
                               int width) {
  static_assert(kGradientThreads == kGradientTile * kGradientTile);
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
    tap_factors(factors, active, is_rescued(response_sums, image), image, y, x, height, width, scale);
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

dim3 parts_and_images(int parts, int images) {
  return dim3(static_cast<unsigned>(parts), static_cast<unsigned>(images));
}

template <class T, MaskFormat kFormat>
void launch_gradient(const FilterHeadGradientArguments<T>& arguments, cudaStream_t stream) {
  const int blocks = ceil_div(arguments.height * arguments.width, kGradientThreads) *
                     ceil_div(arguments.channels, kChannelChunk<T>);
  launch("filter_head_gradient", filter_head_gradient_kernel<T, kFormat>,
         {parts_and_images(blocks, arguments.images_count), dim3(kGradientThreads)}, stream, arguments.active,
         arguments.sums, arguments.weights, arguments.filters,
         ReluMaskReader<kFormat, T>(arguments.mask.data), arguments.scale, arguments.gradient,
         arguments.height, arguments.width, arguments.channels);
}

}  // namespace

template <class T>
void filter_head(const FilterHeadArguments<T>& arguments, cudaStream_t stream) {
  const int chunks = ceil_div(arguments.channels, kChannelChunk<T>);
  const int warps_per_word = chunks >= 4 ? 4 : chunks >= 2 ? 2 : 1;
  launch("filter_head", filter_head_kernel<T>,
         {parts_and_images(kFilterHeadParts, arguments.images_count), dim3(kHeadThreads),
          static_cast<std::size_t>(chunks) * kChunkQuads<T> * sizeof(Quad)},
         stream, reinterpret_cast<const std::uint32_t*>(arguments.input), arguments.weights, arguments.bias,
         arguments.filters, arguments.sums, arguments.active, arguments.height * arguments.width,
         arguments.width, arguments.channels, chunks, warps_per_word);
}

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

void image_head(const ImageHeadArguments& arguments, cudaStream_t stream) {
  launch("image_head", image_head_kernel,
         {parts_and_images(kFilterHeadParts, arguments.images_count), dim3(kHeadThreads)}, stream,
         MappedImages{arguments.images, arguments.map, arguments.height, arguments.width}, arguments.weights,
         arguments.bias, arguments.filters, arguments.sums, arguments.active);
}

void image_head_gradient(const ImageHeadGradientArguments& arguments, cudaStream_t stream) {
  launch("image_head_gradient", image_head_gradient_kernel,
         {parts_and_images(image_gradient_parts(arguments.height, arguments.width), arguments.images_count),
          dim3(kGradientThreads)},
         stream, arguments.active, arguments.sums, arguments.weights, arguments.filters, arguments.map,
         arguments.scale, arguments.image_gradients, arguments.squares, arguments.height, arguments.width);
}

template void filter_head(const FilterHeadArguments<float>&, cudaStream_t);
template void filter_head(const FilterHeadArguments<Half>&, cudaStream_t);
template void filter_head(const FilterHeadArguments<Bfloat16>&, cudaStream_t);
template void filter_head_gradient(const FilterHeadGradientArguments<float>&, cudaStream_t);
template void filter_head_gradient(const FilterHeadGradientArguments<Half>&, cudaStream_t);
template void filter_head_gradient(const FilterHeadGradientArguments<Bfloat16>&, cudaStream_t);

}  // namespace filterscope::kernels
