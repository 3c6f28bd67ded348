// Dgrad of the first layer in fp32. Floor: an image of 96 x 96 at 64 channels takes 32 MFLOP in fp32 and, in
// 16 bits, 1.2 MB read; the ReLU mask is 0.07 MB and the image's gradient 0.1 MB. On an H200 that is 0.48 us
// of arithmetic against 0.32 us of memory. A library's convolution would write at least 8 channels, rounded
// to the compute type, where three are needed; the input map, the image's factor and the sum of squares would
// be separate passes. So would the ReLU mask, unless the convolution that computed the gradient can apply it:
// 2.4 MB read and written (0.6 us).
//
// Arithmetic is the limit, as in fprop, but here the sum runs over the many channels. A block computes a tile
// of 16 x 16 positions, whose squares are summed together. It loads their gradients, with a halo of one, 128
// bytes of channels at a time: asynchronously, so that while one block waits the multiprocessor's other
// blocks compute. Each thread then zeroes the values that it loaded where the ReLU mask is inactive. Eight
// lanes share the channels, and a thread computes a row of 16 positions, 48 sums. For four channels and one
// row of the filters it loads 36 weights to registers and loops over 18 positions: 9 + 18 accesses to shared
// memory for 576 multiply-adds. At the end the eight lanes add up their sums by shuffles, each for two of the
// positions.
#include "../common/channel_lanes.h"
#include "../common/global.h"
#include "../common/launch.h"
#include "../common/reduce.h"
#include "../ptx/cp_async.h"
#include "../relu/relu_mask_reader.h"
#include "dgrad.h"
#include "mapped_image.h"

namespace filterscope::kernels {
namespace {

constexpr int kTile = kGradientTile;
constexpr int kHaloTile = kTile + 2;
constexpr int kThreads = kTile * kChannelLanes;
constexpr int kTaps = 27;
constexpr int kLanePositions = kTile / kChannelLanes;
// Eight lanes load a position of the tile, so that a thread loads every 16th position, kUnrolled at a time,
// as many as registers allow.
constexpr int kHaloPositions = kHaloTile * kHaloTile;
constexpr int kPositionsAtOnce = kThreads / kChannelLanes;
constexpr int kUnrolled = 4;

template <class T>
constexpr int kQuads = kChannelChunk<T> / 4;
// Padded by one quad, so that neighbouring taps, which neighbouring threads write, start in different banks.
template <class T>
constexpr int kWeightPitch = kQuads<T> + 1;

/// Index of a position's quad in the tile. Lanes read quad `lane` and, with 16 bits, then `lane` + 8: 64
/// bytes of a position each time. In every other row the halves of a position are exchanged, so that the rows
/// that a warp reads at once lie in different banks.
template <class T>
__device__ inline int tile_place(int row, int column, int quad) {
  if constexpr (kQuads < T >> kChannelLanes) quad ^= row % 2 * kChannelLanes;
  return (row * kHaloTile + column) * kQuads<T> + quad;
}

template <class T, MaskFormat kFormat>
__global__ void __launch_bounds__(kThreads, 4)
    first_layer_dgrad_direct_kernel(Global<const T> gradient, ReluMaskReader<kFormat, T> mask,
                                    Global<const float> weights, InputMap map, Global<const float> factors,
                                    Global<float> image_gradients, Global<float> squares, int height,
                                    int width, int channels) {
  using TileQuad = Vector<T, 4>;
  using Mask = ReluMaskReader<kFormat, T>;
  FILTERSCOPE_SHARED(TileQuad, tile, kHaloTile * kHaloTile * kQuads<T>);
  FILTERSCOPE_SHARED(Quad, taps, kTaps * kWeightPitch<T>);  // [row][column][image channel][channel]

  const int thread = static_cast<int>(threadIdx.x);
  const int lane = thread % kChannelLanes;
  const int row = thread / kChannelLanes;
  const int image = static_cast<int>(blockIdx.y);
  const int part = static_cast<int>(blockIdx.x);
  const int tiles_across = ceil_div(width, kTile);
  const int tile_y = part / tiles_across * kTile;
  const int tile_x = part % tiles_across * kTile;
  const std::int64_t image_at = static_cast<std::int64_t>(image) * height * width;

  static_assert(4 * kTaps <= kThreads);
  const int tap = thread % kTaps;
  const int first_channel = thread / kTaps;

  float sums[kTile * 3] = {};
  for (int chunk = 0; chunk < channels; chunk += kChannelChunk<T>) {
    if (chunk > 0) __syncthreads();  // Readers of the previous chunk are done.
    // The lane's first element at a position of the tile; -1 outside the map.
    const auto element = [&](int position) {
      const int y = tile_y + position / kHaloTile - 1;
      const int x = tile_x + position % kHaloTile - 1;
      const bool inside = y >= 0 && y < height && x >= 0 && x < width;
      return inside ? (image_at + y * width + x) * channels + chunk + lane * kVectorSize<T> : -1;
    };
#pragma unroll kUnrolled
    for (int position = row; position < kHaloPositions; position += kPositionsAtOnce) {
      const std::int64_t at = element(position);
      ptx::cp_async_16(
          &tile[tile_place<T>(position / kHaloTile, position % kHaloTile, lane * kQuadsPerVector<T>)],
          gradient.template vector_address<kVectorSize<T>>(at < 0 ? 0 : at), at >= 0);
    }
    ptx::cp_async_commit();
    if (first_channel < 4) {
#pragma unroll
      for (int quad = 0; quad < kQuads<T>; ++quad) {
        taps[tap * kWeightPitch<T> + quad][first_channel] =
            weights.load((chunk + quad * 4 + first_channel) * kTaps + tap);
      }
    }
    ptx::cp_async_wait<0>();
    if constexpr (kFormat != MaskFormat::none) {
#pragma unroll 1
      for (int first = row; first < kHaloPositions; first += kUnrolled * kPositionsAtOnce) {
        typename Mask::Loaded masks[kUnrolled];
#pragma unroll
        for (int i = 0; i < kUnrolled; ++i) {
          const int position = first + i * kPositionsAtOnce;
          const std::int64_t at = position < kHaloPositions ? element(position) : -1;
          masks[i] = mask.load(at < 0 ? 0 : at);
        }
#pragma unroll
        for (int i = 0; i < kUnrolled; ++i) {
          const int position = first + i * kPositionsAtOnce;
          if (position >= kHaloPositions) continue;
#pragma unroll
          for (int quad = 0; quad < kQuadsPerVector<T>; ++quad) {
            TileQuad& values = tile[tile_place<T>(position / kHaloTile, position % kHaloTile,
                                                  lane * kQuadsPerVector<T> + quad)];
            TileQuad passed = values;
            for (int c = 0; c < 4; ++c) {
              if (!Mask::active(masks[i], quad * 4 + c)) passed[c] = from_float<T>(0.f);
            }
            values = passed;
          }
        }
      }
    }
    __syncthreads();

#pragma unroll 1
    for (int r = 0; r < 3; ++r) {
#pragma unroll 1
      for (int quad = lane; quad < kQuads<T>; quad += kChannelLanes) {
        Quad weight[3][3];  // [column][image channel]
#pragma unroll
        for (int s = 0; s < 3; ++s) {
          for (int c = 0; c < 3; ++c) weight[s][c] = taps[((r * 3 + s) * 3 + c) * kWeightPitch<T> + quad];
        }
#pragma unroll
        for (int column = 0; column < kHaloTile; ++column) {
          // In fprop, input (y, x) contributes through tap (r, s) to output (y + 1 - r, x + 1 - s): (y + 2 -
          // r, x + 2 - s) from the corner of the halo.
          const TileQuad values = tile[tile_place<T>(row + 2 - r, column, quad)];
#pragma unroll
          for (int i = 0; i < 4; ++i) {
            const float value = to_float(values[i]);
#pragma unroll
            for (int s = 0; s < 3; ++s) {
              const int x = column - 2 + s;
              if (x < 0 || x >= kTile) continue;
#pragma unroll
              for (int c = 0; c < 3; ++c) sums[x * 3 + c] += value * weight[s][c][i];
            }
          }
        }
      }
    }
  }

  sum_over_channel_lanes(sums);
  const float factor = factors.load(image);
  float square = 0.f;
  const int y = tile_y + row;
#pragma unroll
  for (int i = 0; i < kLanePositions; ++i) {
    const int x = tile_x + lane * kLanePositions + i;
    if (y >= height || x >= width) continue;
    const Pixel pixel = image_gradient(map, {{sums[i * 3], sums[i * 3 + 1], sums[i * 3 + 2]}});
#pragma unroll
    for (int c = 0; c < 3; ++c) {
      const float value = factor * pixel.channels[c];
      image_gradients.store((image_at + y * width + x) * 3 + c, value);
      square += value * value;
    }
  }
  square = block_reduce<Sum, kThreads>(square);
  if (thread == 0) squares.store(static_cast<std::int64_t>(image) * gridDim.x + part, square);
}

}  // namespace

template <class T>
void first_layer_dgrad_direct(const FirstLayerDgradArguments<T>& arguments, cudaStream_t stream) {
  const auto start = [&]<MaskFormat kFormat>(ReluMaskReader<kFormat, T> mask) {
    launch("first_layer_dgrad_direct", first_layer_dgrad_direct_kernel<T, kFormat>,
           {dim3(static_cast<unsigned>(image_gradient_parts(arguments.height, arguments.width)),
                 static_cast<unsigned>(arguments.images_count)),
            dim3(kThreads)},
           stream, arguments.gradient, mask, arguments.weights, arguments.map, arguments.factors,
           arguments.image_gradients, arguments.squares, arguments.height, arguments.width,
           arguments.channels);
  };
  if (arguments.mask != nullptr) {
    start(ReluMaskReader<MaskFormat::bits, T>(arguments.mask));
  } else {
    start(ReluMaskReader<MaskFormat::none, T>(nullptr));
  }
}

template void first_layer_dgrad_direct(const FirstLayerDgradArguments<float>&, cudaStream_t);
template void first_layer_dgrad_direct(const FirstLayerDgradArguments<Half>&, cudaStream_t);
template void first_layer_dgrad_direct(const FirstLayerDgradArguments<Bfloat16>&, cudaStream_t);

}  // namespace filterscope::kernels
