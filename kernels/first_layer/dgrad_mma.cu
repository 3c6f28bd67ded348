// Dgrad of the first layer on tensor cores. Floor, from dgrad_direct.cu: for an image of 96 x 96, 0.32 us of
// an H200's memory against 0.48 us of fp32 arithmetic. The gradient already has 16 bits; only the fp32
// weights become sums, of two fp16 parts (common/half_parts.h) or of three bfloat16 parts, which are exact.
//
// With the three colours as columns, most of a product's 8 columns would be empty, and each of the nine taps
// would read the gradient again. Instead the columns are the taps: the rows of a product are 16 positions,
// its sum runs over the channels, and its results are the contributions of each position to the nine outputs
// around it, 27 values, in two or three parts that are in the same lane and added there. That takes 28
// products for 16 positions in Half and 44 in Bfloat16, with the weights in 56 or 88 registers, and the
// gradient is loaded to registers once. Shared memory holds the contributions for as long as outputs may need
// them; a thread then adds up 27 of them for each output.
//
// A block computes 32 x 32 outputs. It treats the rows of 34 gradient positions that it needs as one long
// row, so that no product has fewer than 16 positions. It proceeds by stages of 64 positions, the rows of one
// product for each warp: one stage is copied to shared memory while the previous one is multiplied and the
// contributions of the one before that are added up. Warps apply the ReLU mask in registers.
//
// With the halo and the unused rest of the last stage, 16 outputs take the rows of 1.19 products: 79 MFLOP
// for the image in Half, 0.12 us at the two thirds of the tensor cores' rate that mma.sync reaches on sm_90
// (implicit_gemm.cu), and 0.19 us in Bfloat16. In the code for sm_90a a warp scheduler issues 290
// instructions for 16 positions (320 in Bfloat16): 28 products, 79 for copies, 42 for the mask, 28 to add up
// and store contributions, 67 to add up outputs. With the start and end of a block that is 385 for 16 outputs
// (420): 0.22 us (0.24), where the direct kernel needs 864 multiply-adds alone. Shared memory is busy for
// half of the time that device memory takes.
//
// The parts are in dgrad_mma/: tile.h (shapes, shared memory), stage_loader.h and weights.h.
#include <cstdint>
#include <type_traits>
#include <utility>

#include "../common/channel_lanes.h"
#include "../common/global.h"
#include "../common/launch.h"
#include "../common/reduce.h"
#include "../ptx/cp_async.h"
#include "../ptx/ldmatrix.h"
#include "../ptx/mma.h"
#include "../ptx/permute.h"
#include "dgrad.h"
#include "dgrad_mma/stage_loader.h"
#include "dgrad_mma/tile.h"
#include "dgrad_mma/weights.h"
#include "mapped_image.h"

namespace filterscope::kernels {
namespace {

using namespace dgrad_mma;

/// Zeroes the elements of a step's fragment whose bit is not set. For each of the lane's two positions, `low`
/// and `high` have the bits of the lane's even and odd channels at the tops of their bytes, 32 channels per
/// word.
template <int kStep>
__device__ inline void apply_masks(std::uint32_t (&fragment)[4], const std::uint32_t (&low)[2][2],
                                   const std::uint32_t (&high)[2][2]) {
  constexpr int kWord = kStep / 2;
  constexpr int kByte = kStep % 2 * 2;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    fragment[half] &= ptx::spread_top_bits<kByte>(low[half][kWord], high[half][kWord]);
    fragment[2 + half] &= ptx::spread_top_bits<kByte + 1>(low[half][kWord], high[half][kWord]);
  }
}

/// Computes and stores the contributions of the warp's 16 positions of a stage.
template <class T, bool kMasked, class Memory>
__device__ inline void multiply_stage(const Memory& memory, const Weights<T>& weights, int stage, int slot,
                                      int warp, int lane) {
  const int group = lane / kPairLanes;
  const int pair = lane % kPairLanes;
  std::uint32_t low[2][2];
  std::uint32_t high[2][2];
  if constexpr (kMasked) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int position = warp * kMmaPositions + group + half * (kMmaPositions / 2);
      const auto words = *reinterpret_cast<const WordPair*>(
          &memory[kMasks + slot * kMaskStageBytes + position * kMaskBytes]);
#pragma unroll
      for (int word = 0; word < 2; ++word) {
        // Shifts the bits of the lane's channels 2 pair and 2 pair + 1 to the top of each byte.
        low[half][word] = words[word] << (7 - 2 * pair);
        high[half][word] = words[word] << (6 - 2 * pair);
      }
    }
  }
  float sums[kProducts<T>][4] = {};
  const int row = warp * kMmaPositions + lane % kMmaPositions;
  const int first_chunk =
      slot * kStageBytes + row * kPositionBytes + (lane / kMmaPositions ^ row % kChunks) * kChunkBytes;
  const auto multiply_step = [&]<int kStep>(std::integral_constant<int, kStep>) {
    std::uint32_t fragment[4];
    // Chunk c of a step is chunk 2 step + c of the position.
    ptx::ldmatrix_x4(fragment, memory + (first_chunk ^ 2 * kStep * kChunkBytes));
    if constexpr (kMasked) apply_masks<kStep>(fragment, low, high);
#pragma unroll
    for (int product = 0; product < kProducts<T>; ++product) {
      ptx::mma_m16n8k16<T>(sums[product], fragment, weights[product][kStep]);
    }
  };
  [&]<int... kStep>(std::integer_sequence<int, kStep...>) {
    (multiply_step(std::integral_constant<int, kStep>()), ...);
  }
  (std::make_integer_sequence<int, kSteps>());

  const int kept = stage * kStagePositions % kKeptPositions + warp * kMmaPositions + group;
#pragma unroll
  for (int tap = 0; tap < kLaneTaps; ++tap) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      // The smallest parts first.
      const auto part_of_tap = [&](int part) {
        const int sum = part * kLaneTaps + tap;
        return sums[sum / 2][2 * half + sum % 2];
      };
      float contribution = part_of_tap(kWeightParts<T> - 1);
#pragma unroll
      for (int part = kWeightParts<T> - 2; part >= 0; --part) contribution += part_of_tap(part);
      const int at = (pair * kLaneTaps + tap) * kContributionPitch + kept + half * (kMmaPositions / 2);
      *reinterpret_cast<float*>(&memory[kContributions + at * 4]) = contribution;
    }
  }
}

template <class T, bool kMasked>
__global__ void __launch_bounds__(kThreads, kBlocksPerSm<T>)
    first_layer_dgrad_mma_kernel(Global<const T> gradient, Global<const std::uint32_t> mask,
                                 Global<const float> weights, InputMap map, Global<const float> factors,
                                 Global<float> image_gradients, Global<float> squares, int height,
                                 int width) {
  FILTERSCOPE_DYNAMIC_SHARED(unsigned char, memory);
  const int thread = static_cast<int>(threadIdx.x);
  const int lane = thread % kWarpSize;
  const int warp = thread / kWarpSize;
  const unsigned tiles_across = ceil_div(static_cast<unsigned>(width), unsigned{kTileWidth});
  OutputTile tile{};
  tile.image = static_cast<int>(blockIdx.y);
  tile.y = static_cast<int>(blockIdx.x / tiles_across) * kTileHeight;
  tile.x = static_cast<int>(blockIdx.x % tiles_across) * kTileWidth;
  tile.height = height;
  tile.width = width;
  tile.rows = min(height - tile.y, kTileHeight);
  tile.first = static_cast<std::int64_t>(tile.image) * height * width;
  const int stages = ceil_div(tile.positions(), kStagePositions);

  const StageLoader<T, kMasked> loader(gradient, mask, tile);
#pragma unroll
  for (int stage = 0; stage < kStages - 1; ++stage) {
    loader.start(memory, stage, stage);
    ptx::cp_async_commit();
  }
  const float unscale = stage_weights<T>(weights, memory);
  const float factor = factors.load(tile.image);
  __syncthreads();
  Weights<T> lane_weights;
  load_weights<T>(lane_weights, memory, lane);

  float part_squares[kParts * kParts] = {};
  int slot = 0;
#pragma unroll 1
  for (int stage = 0; stage <= stages; ++stage) {
    // Now the stage has arrived, the contributions of the previous one are stored, and the slot of that one
    // is free.
    ptx::cp_async_wait<kStages - 2>();
    __syncthreads();
    if (stage + kStages - 1 < stages) {
      loader.start(memory, stage + kStages - 1, slot == 0 ? kStages - 1 : slot - 1);
    }
    ptx::cp_async_commit();
    if (stage < stages) multiply_stage<T, kMasked>(memory, lane_weights, stage, slot, warp, lane);
    slot = slot == kStages - 1 ? 0 : slot + 1;

    // The two halves of the block take turns; each thread adds up one output.
    if (warp / (kWarps / 2) != stage % 2) continue;
    const auto output =
        static_cast<unsigned>((stage - 1) * kStagePositions - kReach + thread % kStagePositions);
    const int row = static_cast<int>(output / kColumns);  // Negative outputs wrap beyond all rows.
    const int column = static_cast<int>(output % kColumns);
    if (row >= tile.rows || column >= min(kTileWidth, width - tile.x)) continue;
    float sums[3] = {};
#pragma unroll
    for (int r = 0; r < 3; ++r) {
#pragma unroll
      for (int s = 0; s < 3; ++s) {
        // In fprop, input (y, x) contributes through tap (r, s) to output (y + 1 - r, x + 1 - s): (y + 2 - r,
        // x + 2 - s) from the corner of the halo.
        const unsigned kept = (output + (2 - r) * kColumns + 2 - s) % kKeptPositions;
#pragma unroll
        for (int c = 0; c < 3; ++c) {
          const unsigned at = ((r * 3 + s) * 3 + c) * kContributionPitch + kept;
          sums[c] += *reinterpret_cast<const float*>(&memory[kContributions + at * 4]);
        }
      }
    }
    const Pixel pixel = image_gradient(map, {{unscale * sums[0], unscale * sums[1], unscale * sums[2]}});
    const std::int64_t at = (tile.first + (tile.y + row) * width + tile.x + column) * 3;
    float square = 0.f;
#pragma unroll
    for (int c = 0; c < 3; ++c) {
      const float value = factor * pixel.channels[c];
      image_gradients.store(at + c, value);
      square += value * value;
    }
#pragma unroll
    for (int part = 0; part < kParts * kParts; ++part) {
      const bool inside = row / kGradientTile == part / kParts && column / kGradientTile == part % kParts;
      part_squares[part] += inside ? square : 0.f;
    }
  }

  const int parts_across = ceil_div(width, kGradientTile);
  const int parts_down = ceil_div(height, kGradientTile);
#pragma unroll
  for (int part = 0; part < kParts * kParts; ++part) {
    const float square = block_reduce<Sum, kThreads>(part_squares[part]);
    const int y = tile.y / kGradientTile + part / kParts;
    const int x = tile.x / kGradientTile + part % kParts;
    if (thread == 0 && y < parts_down && x < parts_across) {
      squares.store((static_cast<std::int64_t>(tile.image) * parts_down + y) * parts_across + x, square);
    }
  }
}

}  // namespace

template <class T>
void first_layer_dgrad_mma(const FirstLayerDgradArguments<T>& arguments, cudaStream_t stream) {
  const auto start = [&](auto kernel) {
    const int tiles = ceil_div(arguments.height, kTileHeight) * ceil_div(arguments.width, kTileWidth);
    launch("first_layer_dgrad_mma", kernel,
           {dim3(static_cast<unsigned>(tiles), static_cast<unsigned>(arguments.images_count)), dim3(kThreads),
            kSharedBytes},
           stream, arguments.gradient, arguments.mask, arguments.weights, arguments.map, arguments.factors,
           arguments.image_gradients, arguments.squares, arguments.height, arguments.width);
  };
  if (arguments.mask != nullptr) {
    start(first_layer_dgrad_mma_kernel<T, true>);
  } else {
    start(first_layer_dgrad_mma_kernel<T, false>);
  }
}

template void first_layer_dgrad_mma(const FirstLayerDgradArguments<Half>&, cudaStream_t);
template void first_layer_dgrad_mma(const FirstLayerDgradArguments<Bfloat16>&, cudaStream_t);

}  // namespace filterscope::kernels
