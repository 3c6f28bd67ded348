// Dgrad of the first layer by tensor cores. first_layer_dgrad_direct.cu says what the operation costs: 0.32
// us of an H200's memory for an image of 96 x 96, behind 0.48 us of fp32 arithmetic. The gradient is in 16
// bits as it is; only the weights, which are fp32, become sums: of two fp16 parts (common/half_parts.h), or
// of three of bfloat16, which are all of a weight.
//
// Three colours would leave most of a product's 8 columns empty, and each of the nine taps would read the
// gradient again. So the columns are the taps: the rows of a product are 16 positions, its sum runs over the
// channels, and what comes out is what each position gives to the nine outputs around it, 27 numbers, in two
// or three parts that lie in the same lane and are added there. That is 28 products for 16 positions in Half,
// 44 in Bfloat16, with the weights in 56 or 88 registers, and the gradient goes to registers once. What
// positions give is kept in shared memory for as long as outputs may need it; each thread then adds up 27
// numbers for an output.
//
// A block computes 32 x 32 outputs. It walks along the 34 columns of the gradient that it needs as if they
// were one row, so that no product is for less than 16 positions: 64 positions at a time, one product's rows
// for each warp, are copied to shared memory while those before are multiplied and those before that added
// up. A warp applies the ReLU mask in registers.
//
// With the halo and what is left over of the last 64 positions, that is 1.19 products' rows for 16 outputs:
// 79 MFLOP for the image in Half, 0.12 us at the two thirds of the tensor cores' speed that mma.sync reaches
// on sm_90 (convolution_implicit_gemm.cu), and 0.19 us in Bfloat16. A warp scheduler starts, in the code for
// sm_90a, 290 instructions for 16 positions (320 in Bfloat16): 28 products, 79 to copy, 42 for the mask, 28
// to add up parts and keep them, 67 to add up outputs. That is 385 for 16 outputs (420), with what a block
// begins and ends with: 0.22 us (0.24), where the direct kernel needs 864 multiply-adds alone. Shared memory
// is in use for half of the time that the device's memory takes.
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

/// Clears of a step's fragment the elements whose bit is not set. `low` and `high` have the bits of the
/// lane's even and odd channels at the tops of their bytes, for each of its two positions 32 channels.
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

/// What the warp's 16 positions of a stage give to the outputs around them.
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
        // Of the lane's channels in a byte, 2 pair and the next.
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

  const int kept = stage * kStagePositions % kKept + warp * kMmaPositions + group;
#pragma unroll
  for (int tap = 0; tap < kLaneTaps; ++tap) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      // The smallest parts first.
      const auto of_part = [&](int part) {
        const int sum = part * kLaneTaps + tap;
        return sums[sum / 2][2 * half + sum % 2];
      };
      float given = of_part(kWeightParts<T> - 1);
#pragma unroll
      for (int part = kWeightParts<T> - 2; part >= 0; --part) given += of_part(part);
      const int at = (pair * kLaneTaps + tap) * kGivenPitch + kept + half * (kMmaPositions / 2);
      *reinterpret_cast<float*>(&memory[kGiven + at * 4]) = given;
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
  Weights<T> own_weights;
  load_weights<T>(own_weights, memory, lane);

  float part_squares[kParts * kParts] = {};
  int slot = 0;
#pragma unroll 1
  for (int stage = 0; stage <= stages; ++stage) {
    // The stage is there, what positions before it give is known, and nobody needs the slot before it.
    ptx::cp_async_wait<kStages - 2>();
    __syncthreads();
    if (stage + kStages - 1 < stages) {
      loader.start(memory, stage + kStages - 1, slot == 0 ? kStages - 1 : slot - 1);
    }
    ptx::cp_async_commit();
    if (stage < stages) multiply_stage<T, kMasked>(memory, own_weights, stage, slot, warp, lane);
    slot = slot == kStages - 1 ? 0 : slot + 1;

    // Half of the warps, in turns, have an output each for their threads.
    if (warp / (kWarps / 2) != stage % 2) continue;
    const auto output =
        static_cast<unsigned>((stage - 1) * kStagePositions - kReach + thread % kStagePositions);
    const int row = static_cast<int>(output / kColumns);  // Beyond all rows where there is none yet.
    const int column = static_cast<int>(output % kColumns);
    if (row >= tile.rows || column >= min(kTileWidth, width - tile.x)) continue;
    float sums[3] = {};
#pragma unroll
    for (int r = 0; r < 3; ++r) {
#pragma unroll
      for (int s = 0; s < 3; ++s) {
        // What position y, x gave to y + r - 1, x + s - 1 comes back from there, with the halo from y + 2 -
        // r, x + 2 - s.
        const unsigned kept = (output + (2 - r) * kColumns + 2 - s) % kKept;
#pragma unroll
        for (int c = 0; c < 3; ++c) {
          const unsigned at = ((r * 3 + s) * 3 + c) * kGivenPitch + kept;
          sums[c] += *reinterpret_cast<const float*>(&memory[kGiven + at * 4]);
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
      const bool own = row / kGradientTile == part / kParts && column / kGradientTile == part % kParts;
      part_squares[part] += own ? square : 0.f;
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
