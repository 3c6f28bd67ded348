// Fprop of the first layer in fp32. Floor: an image of 96 x 96 at 64 filters takes 32 MFLOP in fp32 and, in
// 16 bits, 1.2 MB written; the image itself is 0.1 MB and the mask 0.07 MB. On an H200 that is 0.48 us of
// arithmetic against 0.32 us of memory. Separate passes for bias and ReLU and for the mask would move another
// 3.5 MB (0.8 us), and a library's convolution needs an input of 8 channels in the compute type, prepared by
// yet another pass.
//
// Arithmetic is the limit, so everything else must hide behind it. A block computes 32 x 16 positions of 64
// filters, with the mapped image tile and its halo, one plane per channel, and the weights in shared memory.
// A thread computes 8 neighbouring positions of 8 filters in 64 accumulators: for each row and input channel
// of the filters it loads 10 pixels (broadcast to the 8 threads that share them) and 3 x 8 weights in 9
// accesses of 16 bytes, and does 192 multiply-adds. Eight lanes hold the 64 filters of a position, so that
// outputs are stored as full 128-byte lines.
#include <bit>

#include "../common/channel_lanes.h"
#include "../common/global.h"
#include "../common/launch.h"
#include "../common/transpose.h"
#include "../ptx/convert.h"
#include "fprop.h"
#include "mapped_image.h"

namespace filterscope::kernels {
namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / kWarpSize;
constexpr int kChannels = 64;  // Per block.
constexpr int kQuads = kChannels / 4;
constexpr int kThreadQuads = kQuads / kChannelLanes;
constexpr int kThreadChannels = 4 * kThreadQuads;
constexpr int kRun = 8;  // Consecutive positions of a thread, along x.
constexpr int kTileWidth = kPositionGroups * kRun;
constexpr int kTileHeight = 2 * kWarps;
constexpr int kTaps = 27;

// A run's pixels are read as three quads from the run's first.
constexpr int kPlaneRows = kTileHeight + 2;
constexpr int kPlanePitch = kTileWidth / 4 + 1;
constexpr int kRunQuads = 3;
static_assert(kRun + 2 <= 4 * kRunQuads && kTileWidth + 2 <= 4 * kPlanePitch);

// Padded by one quad, so that neighbouring taps, which neighbouring threads write, start in different banks.
constexpr int kTapPitch = kQuads + 1;

static_assert(kRun == kChannelLanes && kThreadChannels == 8, "transpose_bytes is for 8 x 8");

/// The sign bits of a word of outputs.
template <class T>
constexpr std::uint32_t kSigns = sizeof(T) == 4 ? 0x80000000u : 0x80008000u;

/// Sets the sign bit of each element of a ReLU's output word that is above zero: a nonzero magnitude carries
/// into it. A zero may have either sign.
template <class T>
__device__ inline std::uint32_t sign_bits_above_zero(std::uint32_t word) {
  constexpr std::uint32_t kMagnitudes = ~kSigns<T>;
  return ((word & kMagnitudes) + kMagnitudes) & kSigns<T>;
}

template <class T>
__device__ inline std::uint32_t relu_word(const float* sums) {
  if constexpr (kValuesPerWord<T> == 2) {
    return ptx::relu_pair<T>(sums[0], sums[1]);
  } else {
    return std::bit_cast<std::uint32_t>(ptx::relu(sums[0]));
  }
}

/// Bits 0 .. 15 become the even bits, bits 16 .. 31 the odd ones.
__device__ inline std::uint32_t interleave_halves(std::uint32_t bits) {
#pragma unroll
  for (int distance = 8; distance > 0; distance /= 2) {
    // Exchanges the second and third quarter of every 4 * distance bits.
    const std::uint32_t second = (0xffffffffu / ((std::uint32_t{1} << distance) + 1) &
                                  0xffffffffu / ((std::uint32_t{1} << 2 * distance) + 1))
                                 << distance;
    const std::uint32_t difference = (bits ^ bits >> distance) & second;
    bits ^= difference ^ difference << distance;
  }
  return bits;
}

/// The low nibbles of the eight bytes, packed.
__device__ inline std::uint32_t low_nibbles(std::uint64_t bytes) {
  bytes &= 0x0f0f0f0f0f0f0f0f;
  bytes = (bytes | bytes >> 4) & 0x00ff00ff00ff00ff;
  bytes = (bytes | bytes >> 8) & 0x0000ffff0000ffff;
  return static_cast<std::uint32_t>(bytes | bytes >> 16);
}

/// The mask bits of a position's 64 channels in order. Byte l of `lanes` has those of lane l's eight
/// channels.
template <class T>
__device__ inline Vector<std::uint32_t, 2> channel_bits(std::uint64_t lanes) {
  if constexpr (kQuadsPerVector<T> == 2) {  // A lane's channels are consecutive.
    return {static_cast<std::uint32_t>(lanes), static_cast<std::uint32_t>(lanes >> 32)};
  } else {  // A quad in the first 32 channels and one in the second.
    return {low_nibbles(lanes), low_nibbles(lanes >> 4)};
  }
}

/// Stores a tile of the input, with its halo, as [channel][row][column]. A thread stays in one column and
/// loads every seventh row, which avoids divisions; all its loads are in flight before it uses the first.
__device__ inline void stage_pixels(const MappedImages& input, int image, int tile_y, int tile_x,
                                    auto&& planes) {
  constexpr int kColumns = kTileWidth + 2;
  constexpr int kRowsAtOnce = kThreads / kColumns;
  constexpr int kLoads = ceil_div(kPlaneRows, kRowsAtOnce);
  const int column = static_cast<int>(threadIdx.x) % kColumns;
  const int first_row = static_cast<int>(threadIdx.x) / kColumns;
  Pixel pixels[kLoads];
#pragma unroll
  for (int i = 0; i < kLoads; ++i) {
    pixels[i] = input.load(image, tile_y + first_row + i * kRowsAtOnce - 1, tile_x + column - 1);
  }
#pragma unroll
  for (int i = 0; i < kLoads; ++i) {
    const int row = first_row + i * kRowsAtOnce;
    if (first_row < kRowsAtOnce && row < kPlaneRows) {
#pragma unroll
      for (int channel = 0; channel < 3; ++channel) {
        planes[(channel * kPlaneRows + row) * kPlanePitch + column / 4][column % 4] =
            pixels[i].channels[channel];
      }
    }
  }
}

/// Stores the weights of the block's filters as [tap][quad][lane], and the bias after the last tap. Each
/// thread loads one tap.
template <class T>
__device__ inline void stage_filters(Global<const float> weights, Global<const float> bias, int block,
                                     auto&& taps) {
  constexpr int kFiltersAtOnce = 8;
  constexpr int kLoads = kChannels / kFiltersAtOnce;
  static_assert(kFiltersAtOnce * kTaps <= kThreads && kChannels % kFiltersAtOnce == 0);
  const int thread = static_cast<int>(threadIdx.x);
  const int tap = thread % kTaps;
  const int first = thread / kTaps;
  if (first < kFiltersAtOnce) {
    float loaded[kLoads];
#pragma unroll
    for (int i = 0; i < kLoads; ++i) {
      loaded[i] = weights.load((block + first + i * kFiltersAtOnce) * kTaps + tap);
    }
    const int place = tap * kTapPitch + quad_place<T>(first);
#pragma unroll
    for (int i = 0; i < kLoads; ++i) taps[place + quad_place<T>(i * kFiltersAtOnce)][first % 4] = loaded[i];
  }
  if (thread < kQuads) {
    const int channel = block + quad_channel<T>(thread / kChannelLanes, thread % kChannelLanes);
    taps[kTaps * kTapPitch + thread] = bias.load_vector<4>(channel);
  }
}

template <class T>
__global__ void __launch_bounds__(kThreads, 2)
    first_layer_fprop_direct_kernel(MappedImages input, Global<const float> weights, Global<const float> bias,
                                    Global<std::uint32_t> output, Global<std::uint32_t> mask,
                                    int out_channels) {
  FILTERSCOPE_SHARED(Quad, planes, 3 * kPlaneRows * kPlanePitch);
  FILTERSCOPE_SHARED(Quad, taps, (kTaps + 1) * kTapPitch);

  const int thread = static_cast<int>(threadIdx.x);
  const int lane = thread % kChannelLanes;
  const int group = thread % kWarpSize / kChannelLanes;
  const int warp = thread / kWarpSize;
  const int image = static_cast<int>(blockIdx.y);
  const int blocks = out_channels / kChannels;
  const int block = static_cast<int>(blockIdx.x) % blocks * kChannels;
  const int tile = static_cast<int>(blockIdx.x) / blocks;
  const int tiles_across = ceil_div(input.width, kTileWidth);
  const int tile_y = tile / tiles_across * kTileHeight;
  const int tile_x = tile % tiles_across * kTileWidth;

  stage_pixels(input, image, tile_y, tile_x, planes);
  stage_filters<T>(weights, bias, block, taps);
  __syncthreads();

  for (int row = warp; row < kTileHeight && tile_y + row < input.height; row += kWarps) {
    float sums[kRun][kThreadChannels];
#pragma unroll
    for (int quad = 0; quad < kThreadQuads; ++quad) {
      const Quad start = taps[kTaps * kTapPitch + quad * kChannelLanes + lane];
#pragma unroll
      for (int x = 0; x < kRun; ++x) {
        for (int c = 0; c < 4; ++c) sums[x][quad * 4 + c] = start[c];
      }
    }
#pragma unroll 1
    for (int r = 0; r < 3; ++r) {
#pragma unroll
      for (int channel = 0; channel < 3; ++channel) {
        const int pixels_at = (channel * kPlaneRows + row + r) * kPlanePitch + group * (kRun / 4);
        Quad pixels[kRunQuads];
#pragma unroll
        for (int i = 0; i < kRunQuads; ++i) pixels[i] = planes[pixels_at + i];
#pragma unroll
        for (int s = 0; s < 3; ++s) {
#pragma unroll
          for (int quad = 0; quad < kThreadQuads; ++quad) {
            const Quad weight = taps[((r * 3 + s) * 3 + channel) * kTapPitch + quad * kChannelLanes + lane];
#pragma unroll
            for (int x = 0; x < kRun; ++x) {
              for (int c = 0; c < 4; ++c) {
                sums[x][quad * 4 + c] += pixels[(x + s) / 4][(x + s) % 4] * weight[c];
              }
            }
          }
        }
      }
    }

    constexpr int kWords = kThreadChannels / kValuesPerWord<T>;
    std::uint32_t words[kRun][kWords];
    const int run_x = tile_x + group * kRun;
    const std::int64_t run =
        (static_cast<std::int64_t>(image) * input.height + tile_y + row) * input.width + run_x;
    const int pitch = out_channels / kValuesPerWord<T>;
    std::int64_t at = run * pitch + (block + lane * kVectorSize<T>) / kValuesPerWord<T>;
#pragma unroll
    for (int x = 0; x < kRun; ++x) {
#pragma unroll
      for (int i = 0; i < kWords; ++i) words[x][i] = relu_word<T>(&sums[x][i * kValuesPerWord<T>]);
      if (run_x + x < input.width) {
#pragma unroll
        for (int i = 0; i < kWords; i += 4) {
          output.store_vector<4>(at + i * kChannelLanes,
                                 {words[x][i], words[x][i + 1], words[x][i + 2], words[x][i + 3]});
        }
      }
      at += pitch;
    }
    if (mask) {
      // Four positions per word. With 16-bit outputs the odd channels end up in the upper half.
      std::uint32_t active[2] = {0, 0};
#pragma unroll
      for (int x = 0; x < kRun; ++x) {
#pragma unroll
        for (int i = 0; i < kWords; ++i) {
          active[x / 4] = active[x / 4] >> 1 | sign_bits_above_zero<T>(words[x][i]);
        }
      }
      if constexpr (kValuesPerWord<T> == 2) {
        for (std::uint32_t& bits : active) bits = interleave_halves(bits);
      }
      const std::uint64_t lanes = transpose_bytes(active[0] | std::uint64_t{active[1]} << 32, lane);
      if (run_x + lane < input.width) {
        mask.store_vector<2>(((run + lane) * out_channels + block) / 32, channel_bits<T>(lanes));
      }
    }
  }
}

}  // namespace

template <class T>
void first_layer_fprop_direct(const FirstLayerFpropArguments<T>& arguments, cudaStream_t stream) {
  const int tiles = ceil_div(arguments.height, kTileHeight) * ceil_div(arguments.width, kTileWidth);
  launch("first_layer_fprop_direct", first_layer_fprop_direct_kernel<T>,
         {dim3(static_cast<unsigned>(tiles * (arguments.out_channels / kChannels)),
               static_cast<unsigned>(arguments.images_count)),
          dim3(kThreads)},
         stream, MappedImages{arguments.images, arguments.map, arguments.height, arguments.width},
         arguments.weights, arguments.bias, reinterpret_cast<std::uint32_t*>(arguments.output),
         arguments.mask, arguments.out_channels);
}

template void first_layer_fprop_direct(const FirstLayerFpropArguments<float>&, cudaStream_t);
template void first_layer_fprop_direct(const FirstLayerFpropArguments<Half>&, cudaStream_t);
template void first_layer_fprop_direct(const FirstLayerFpropArguments<Bfloat16>&, cudaStream_t);

}  // namespace filterscope::kernels
