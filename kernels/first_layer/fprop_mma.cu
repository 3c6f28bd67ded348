// Fprop of the first layer on tensor cores. Floor, from fprop_direct.cu: for an image of 96 x 96, 0.32 us of
// an H200's memory against 0.48 us of fp32 arithmetic. Here pixels and weights are sums of two fp16 parts
// (common/half_parts.h), and high x high + high x low + low x high is within 2^-22 of a product.
//
// The rows of a product are 16 consecutive positions of an image row, its columns 8 filters. Its sum runs
// over four pixels of the filter with four channels each, of which the last is zero: a lane then needs one
// pixel for each of its positions, so that each register takes a single load at an address without further
// arithmetic. The ninth pixel does not need three products: one product holds both its parts, against the
// filter's high and low parts. That makes 7 products for 8 filters, where 3 x 27 values would fill 5.1: 132
// MFLOP, 0.20 us at the two thirds of the rate of an H200's tensor cores that mma.sync reaches
// (implicit_gemm.cu).
//
// The other limit is the issue rate, one instruction per clock and warp scheduler. For 16 positions and 64
// filters that is 56 products and, in the code for sm_90a, 177 instructions around them: 22 loads from shared
// memory, 32 multiply-adds for scale and bias, 16 roundings, 46 for the mask, 5 stores, and addresses. With
// their share of the start of a row (a half) and of a block (an eighth) it is 350: 0.20 us, where the direct
// kernel needs 864 multiply-adds alone.
//
// A block computes 32 x 16 positions of 64 filters. The parts of its pixels, with a halo, are in shared
// memory, and each lane holds the parts of its filters in 80 registers. The columns of the products order the
// filters such that a lane's accumulators are 8 consecutive channels, and 8 more 32 channels on: outputs are
// stored 16 bytes at a time, in whole sectors of 64 bytes, without an exchange.
//
// Each tile and each block's filters have their own scale for the parts. Images may therefore have any range,
// and an image's result does not depend on the other images.
#include <bit>

#include "../common/channel_lanes.h"
#include "../common/chunk.h"
#include "../common/global.h"
#include "../common/half_parts.h"
#include "../common/launch.h"
#include "../common/reduce.h"
#include "../common/transpose.h"
#include "../ptx/compare.h"
#include "../ptx/convert.h"
#include "../ptx/mma.h"
#include "fprop.h"
#include "mapped_image.h"

namespace filterscope::kernels {
namespace {

constexpr int kThreads = 128;
constexpr int kBlocksPerSm = 3;
constexpr int kWarps = kThreads / kWarpSize;
constexpr int kChannels = 64;  // Per block.
constexpr int kTileWidth = 32;
constexpr int kTileHeight = 16;
constexpr int kColumns = kTileWidth + 2;  // With the halo.
constexpr int kRows = kTileHeight + 2;
constexpr int kTaps = 9;

constexpr int kMmaPositions = 16;  // Shape of ptx::mma_m16n8k16.
constexpr int kMmaFilters = 8;
constexpr int kMmaPixels = 4;  // With four channels each.
constexpr int kProducts = kChannels / kMmaFilters;
constexpr int kSteps = kTaps / kMmaPixels;
static_assert(kTaps == kSteps * kMmaPixels + 1, "one pixel remains, whose parts take one more step");

// The lanes that share a row of accumulators; each lane's channels form two chunks.
constexpr int kPairLanes = 4;
constexpr int kChunks = kProducts / kPairLanes;
constexpr int kChunkPairs = kPairLanes;
static_assert(kChunks * kPairLanes * 2 * kChunkPairs == kChannels);

/// The filter, within the block, in column `column` of product `product`. Lane l has columns 2 (l % 4) and 2
/// (l % 4) + 1 of every product.
__device__ inline int filter_of(int product, int column) {
  return product / kChunkPairs * (kChannels / kChunks) + column / 2 * (2 * kChunkPairs) +
         product % kChunkPairs * 2 + column % 2;
}

/// The pixels in shared memory are four planes of words [row][column]: high parts of channels 0 and 1, high
/// part of channel 2, and the same for the low parts.
constexpr int kPitch = 44;
constexpr int kPlane = kRows * kPitch;
constexpr int kLowPlanes = 2 * kPlane;
/// Index in a plane, from the first pixel of the warp's patch, that lane l reads: pixel l % 4 of the step for
/// position l / 4 or, for step kSteps, the ninth pixel, whose low part one lane in four reads.
__host__ __device__ constexpr int patch_place(int step, int lane) {
  const int pixel = lane % kMmaPixels;
  const int tap = step < kSteps ? step * kMmaPixels + pixel : kTaps - 1;
  return tap / 3 * kPitch + tap % 3 + lane / kPairLanes + (step == kSteps && pixel == 1 ? kLowPlanes : 0);
}
constexpr bool reads_without_conflicts() {
  constexpr int kBanks = 32;
  for (int step = 0; step <= kSteps; ++step) {
    int read[kBanks];
    for (int& place : read) place = -1;
    for (int lane = 0; lane < kWarpSize; ++lane) {
      const int place = patch_place(step, lane);
      if (read[place % kBanks] >= 0 && read[place % kBanks] != place) return false;
      read[place % kBanks] = place;
    }
  }
  return true;
}
static_assert(kPitch >= kColumns && reads_without_conflicts());

/// The filters in shared memory, in the order in which lanes load them. The filters' high parts for the ninth
/// pixel go to the lanes that hold its high and low parts, their low parts to the third lane; the fourth gets
/// zeros.
constexpr int kTapPlaces = kSteps * kProducts * kWarpSize;  // [step][product][lane]: high, low.
constexpr int kNinthPlaces = kProducts * kWarpSize;         // [product][column][four lanes]

/// Two maxima at once, of non-negative floats, which are ordered like their bits.
struct Maxima {
  __device__ std::uint64_t operator()(std::uint64_t a, std::uint64_t b) const {
    const std::uint32_t upper = max(static_cast<std::uint32_t>(a >> 32), static_cast<std::uint32_t>(b >> 32));
    const std::uint32_t lower = max(static_cast<std::uint32_t>(a), static_cast<std::uint32_t>(b));
    return std::uint64_t{upper} << 32 | lower;
  }
};

/// Ignores NaN, which stays NaN at every scale.
template <int kCount>
__device__ inline float largest_magnitude(const Pixel (&pixels)[kCount]) {
  float largest = 0.f;
#pragma unroll
  for (int i = 0; i < kCount; ++i) {
#pragma unroll
    for (int c = 0; c < 3; ++c) largest = max(largest, fabsf(pixels[i].channels[c]));
  }
  return largest;
}

/// The parts of a pixel's three values.
struct PixelParts {
  HalfParts first_two;
  HalfParts third;
};
__device__ inline PixelParts parts_of(const Pixel& pixel, float scale) {
  return {half_parts(pixel.channels[0] * scale, pixel.channels[1] * scale),
          half_parts(pixel.channels[2] * scale, 0.f)};
}

/// Stores the parts of a tile of the input, with its halo, and those of the block's filters. All of a
/// thread's loads are in flight before it uses the first. Returns the factor that undoes the scales in an
/// accumulator.
__device__ inline float stage_pixels_and_filters(const MappedImages& input, int image, int tile_y, int tile_x,
                                                 Global<const float> weights, int block, auto&& pixels,
                                                 auto&& taps, auto&& ninths) {
  // A thread stays in one column and loads every third row.
  constexpr int kRowsAtOnce = kThreads / kColumns;
  constexpr int kPixelLoads = kRows / kRowsAtOnce;
  constexpr int kTapLoads = kTapPlaces / kThreads;
  static_assert(kRows % kRowsAtOnce == 0 && kTapPlaces % kThreads == 0 && kThreads >= kChannels);
  static_assert(kTapLoads == kSteps * kChunks && kWarps == kChunkPairs,
                "load i of a warp is for a product of chunk i % kChunks, step i / kChunks");
  const unsigned thread = threadIdx.x;
  const int column = static_cast<int>(thread % kColumns);
  const int first_row = static_cast<int>(thread / kColumns);
  const bool has_pixels = first_row < kRowsAtOnce;
  Pixel loaded[kPixelLoads];
#pragma unroll
  for (int i = 0; i < kPixelLoads; ++i) {
    loaded[i] = input.load(image, tile_y + first_row + i * kRowsAtOnce - 1, tile_x + column - 1);
  }
  Pixel loaded_taps[kTapLoads + 1];
  const auto load_tap = [&](int number, int filter, int tap) {
#pragma unroll
    for (int c = 0; c < 3; ++c) {
      loaded_taps[number].channels[c] = weights.load(((block + filter) * kTaps + tap) * 3 + c);
    }
  };
  const int first_filter =
      filter_of(static_cast<int>(thread / kWarpSize), static_cast<int>(thread % kWarpSize / kMmaPixels));
#pragma unroll
  for (int i = 0; i < kTapLoads; ++i) {
    load_tap(i, first_filter + i % kChunks * (kChannels / kChunks),
             static_cast<int>(thread % kMmaPixels) + i / kChunks * kMmaPixels);
  }
  const unsigned ninth = thread % kChannels;  // [product][column]
  load_tap(kTapLoads, filter_of(static_cast<int>(ninth / kMmaFilters), static_cast<int>(ninth % kMmaFilters)),
           kTaps - 1);

  const std::uint64_t thread_largest =
      std::uint64_t{std::bit_cast<std::uint32_t>(has_pixels ? largest_magnitude(loaded) : 0.f)} << 32 |
      std::bit_cast<std::uint32_t>(largest_magnitude(loaded_taps));
  const auto largest = block_reduce<Maxima, kThreads>(thread_largest);
  const int pixel_exponent = half_exponent(std::bit_cast<float>(static_cast<std::uint32_t>(largest >> 32)));
  const int tap_exponent = half_exponent(std::bit_cast<float>(static_cast<std::uint32_t>(largest)));
  const float pixel_scale = power_of_two(pixel_exponent);
  const float tap_scale = power_of_two(tap_exponent);

  if (has_pixels) {
#pragma unroll
    for (int i = 0; i < kPixelLoads; ++i) {
      const PixelParts parts = parts_of(loaded[i], pixel_scale);
      const int at = (first_row + i * kRowsAtOnce) * kPitch + column;
      pixels[at] = parts.first_two.high;
      pixels[at + kPlane] = parts.third.high;
      pixels[at + kLowPlanes] = parts.first_two.low;
      pixels[at + kLowPlanes + kPlane] = parts.third.low;
    }
  }
#pragma unroll
  for (int i = 0; i < kTapLoads; ++i) {
    const PixelParts parts = parts_of(loaded_taps[i], tap_scale);
    taps[thread + i * kThreads] = {parts.first_two.high, parts.third.high, parts.first_two.low,
                                   parts.third.low};
  }
  if (thread < kChannels) {
    const PixelParts parts = parts_of(loaded_taps[kTapLoads], tap_scale);
    const WordPair high{parts.first_two.high, parts.third.high};
    const WordPair lanes[kPairLanes] = {high, high, {parts.first_two.low, parts.third.low}, {0, 0}};
#pragma unroll
    for (int i = 0; i < kPairLanes; ++i) ninths[ninth * kPairLanes + i] = lanes[i];
  }
  return power_of_two(-(pixel_exponent + tap_exponent));
}

/// A lane's part of the filters, as operands of ptx::mma_m16n8k16.
struct Filters {
  std::uint32_t high[kSteps][kProducts][2];
  std::uint32_t low[kSteps][kProducts][2];
  std::uint32_t ninth[kProducts][2];
};

__device__ inline Filters load_filters(const auto& taps, const auto& ninths, int lane) {
  Filters filters;
#pragma unroll
  for (int product = 0; product < kProducts; ++product) {
#pragma unroll
    for (int step = 0; step < kSteps; ++step) {
      const Words parts = taps[(step * kProducts + product) * kWarpSize + lane];
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        filters.high[step][product][i] = parts[i];
        filters.low[step][product][i] = parts[2 + i];
      }
    }
    const WordPair parts = ninths[product * kWarpSize + lane];
#pragma unroll
    for (int i = 0; i < 2; ++i) filters.ninth[product][i] = parts[i];
  }
  return filters;
}

template <class T>
__global__ void __launch_bounds__(kThreads, kBlocksPerSm)
    first_layer_fprop_mma_kernel(MappedImages input, Global<const float> weights, Global<const float> bias,
                                 Global<std::uint32_t> output, Global<std::uint32_t> mask, int out_channels) {
  FILTERSCOPE_SHARED(std::uint32_t, pixels, 4 * kPlane);
  FILTERSCOPE_SHARED(Words, taps, kTapPlaces);
  FILTERSCOPE_SHARED(WordPair, ninths, kNinthPlaces);
  FILTERSCOPE_SHARED(Quad, biases, kChannels / 4);

  const int lane = static_cast<int>(threadIdx.x % kWarpSize);
  const int warp = static_cast<int>(threadIdx.x / kWarpSize);
  const int group = lane / kPairLanes;
  const int pair = lane % kPairLanes;
  const int image = static_cast<int>(blockIdx.y);
  const int block = static_cast<int>(blockIdx.z) * kChannels;
  const unsigned tiles_across = ceil_div(static_cast<unsigned>(input.width), unsigned{kTileWidth});
  const int tile_y = static_cast<int>(blockIdx.x / tiles_across) * kTileHeight;
  const int tile_x = static_cast<int>(blockIdx.x % tiles_across) * kTileWidth;

  const float unscale =
      stage_pixels_and_filters(input, image, tile_y, tile_x, weights, block, pixels, taps, ninths);
  if (threadIdx.x < kChannels / 4) {
    biases[threadIdx.x] = bias.load_vector<4>(block + 4 * static_cast<int>(threadIdx.x));
  }
  __syncthreads();
  const Filters filters = load_filters(taps, ninths, lane);

  const int output_pitch = out_channels / 2;
  const int mask_pitch = out_channels / 32;
  const int mask_position = group + pair / kChunks * (kMmaPositions / 2);
  const std::int64_t first_position = static_cast<std::int64_t>(image) * input.height * input.width;
  const std::int64_t first_output = first_position * output_pitch;
  const std::int64_t first_mask = first_position * mask_pitch;
#pragma unroll 1
  for (int row = warp; row < kTileHeight && tile_y + row < input.height; row += kWarps) {
    // Indices of the lane's first position and chunk, and of the mask word that it stores, which belongs to
    // another position.
    const int first = (tile_y + row) * input.width + tile_x;
    std::int64_t output_at = first_output + static_cast<std::int64_t>(first + group) * output_pitch +
                             block / 2 + pair * kChunkPairs;
    std::int64_t mask_at = first_mask + static_cast<std::int64_t>(first + mask_position) * mask_pitch +
                           block / 32 + pair % kChunks;
#pragma unroll 1
    for (int x = 0; x < kTileWidth && tile_x + x < input.width; x += kMmaPositions) {
      // Operands of the lane's two positions, in the upper and lower half of the rows.
      std::uint32_t high[kSteps][4];
      std::uint32_t low[kSteps][4];
      std::uint32_t ninth[4];
      const int patch = row * kPitch + x;
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int plane_place = patch + i % 2 * (kMmaPositions / 2) + i / 2 * kPlane;
#pragma unroll
        for (int step = 0; step < kSteps; ++step) {
          high[step][i] = pixels[plane_place + patch_place(step, lane)];
          low[step][i] = pixels[plane_place + patch_place(step, lane) + kLowPlanes];
        }
        ninth[i] = pixels[plane_place + patch_place(kSteps, lane)];
      }

      // The smallest products first.
      float sums[kProducts][4] = {};
      const auto multiply = [&](const std::uint32_t(&positions)[4], const auto& factors) {
#pragma unroll
        for (int product = 0; product < kProducts; ++product) {
          ptx::mma_m16n8k16<Half>(sums[product], positions, factors[product]);
        }
      };
#pragma unroll
      for (int step = 0; step < kSteps; ++step) {
        multiply(low[step], filters.high[step]);
        multiply(high[step], filters.low[step]);
      }
      multiply(ninth, filters.ninth);
#pragma unroll
      for (int step = 0; step < kSteps; ++step) multiply(high[step], filters.high[step]);

      // Mask of the outputs: one byte per chunk, two per word, with the odd bits starting in the upper half.
      std::uint32_t active[2] = {0, 0};
#pragma unroll
      for (int i = 0; i < kChunks; ++i) {
        const int channel = filter_of(i * kChunkPairs, 2 * pair);
        const Quad bias_quads[2] = {biases[channel / 4], biases[channel / 4 + 1]};
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          Chunk chunk;
#pragma unroll
          for (int word = 0; word < kChunkPairs; ++word) {
            const Quad& quad = bias_quads[word / 2];
            const float* const two = &sums[i * kChunkPairs + word][2 * half];
            chunk[word] = ptx::relu_pair<T>(two[0] * unscale + quad[word % 2 * 2],
                                            two[1] * unscale + quad[word % 2 * 2 + 1]);
          }
          if (tile_x + x + group + half * (kMmaPositions / 2) < input.width) {
            output.store_vector<4>(
                output_at + half * (kMmaPositions / 2) * output_pitch + i * (kChannels / kChunks / 2), chunk);
          }
#pragma unroll
          for (int word = 0; word < kChunkPairs; ++word) {
            active[half] |= ptx::nonzero_pair(chunk[word]) & 0x00020001u << (8 * i + 2 * word);
          }
        }
      }
      output_at += kMmaPositions * output_pitch;
      if (mask) {
        // Collects the four words of two positions from four lanes.
        for (std::uint32_t& bits : active) bits = (bits | bits >> 16) & 0xffffu;
        const std::uint32_t word = transpose_bytes(active[0] | active[1] << 16, pair);
        if (tile_x + x + mask_position < input.width) mask.store(mask_at, word);
        mask_at += kMmaPositions * mask_pitch;
      }
    }
  }
}

}  // namespace

template <class T>
void first_layer_fprop_mma(const FirstLayerFpropArguments<T>& arguments, cudaStream_t stream) {
  const int tiles = ceil_div(arguments.height, kTileHeight) * ceil_div(arguments.width, kTileWidth);
  launch("first_layer_fprop_mma", first_layer_fprop_mma_kernel<T>,
         {dim3(static_cast<unsigned>(tiles), static_cast<unsigned>(arguments.images_count),
               static_cast<unsigned>(arguments.out_channels / kChannels)),
          dim3(kThreads)},
         stream, MappedImages{arguments.images, arguments.map, arguments.height, arguments.width},
         arguments.weights, arguments.bias, reinterpret_cast<std::uint32_t*>(arguments.output),
         arguments.mask, arguments.out_channels);
}

template void first_layer_fprop_mma(const FirstLayerFpropArguments<Half>&, cudaStream_t);
template void first_layer_fprop_mma(const FirstLayerFpropArguments<Bfloat16>&, cudaStream_t);

}  // namespace filterscope::kernels
