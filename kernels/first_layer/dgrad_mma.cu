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
#include <bit>
#include <type_traits>
#include <utility>

#include "../common/channel_lanes.h"
#include "../common/global.h"
#include "../common/half_parts.h"
#include "../common/launch.h"
#include "../common/reduce.h"
#include "../ptx/convert.h"
#include "../ptx/cp_async.h"
#include "../ptx/ldmatrix.h"
#include "../ptx/mma.h"
#include "../ptx/permute.h"
#include "dgrad.h"
#include "mapped_image.h"

namespace filterscope::kernels {
namespace {

constexpr int kThreads = 128;
constexpr int kWarps = kThreads / kWarpSize;
constexpr int kChannels = 64;
constexpr int kTaps = 27;  // Of three colours.

// A block's part of the image, and columns and rows of the gradient beside it.
constexpr int kParts = 2;  // Of the squares, each way.
constexpr int kWidth = kParts * kGradientTile;
constexpr int kHeight = kParts * kGradientTile;
constexpr int kColumns = kWidth + 2;

constexpr int kMmaPositions = 16;  // Shape of ptx::mma_m16n8k16.
constexpr int kMmaChannels = 16;
constexpr int kSteps = kChannels / kMmaChannels;

// Four lanes share a row of sums, in which each has 7 of the taps, with all parts of their weights.
constexpr int kPairLanes = 4;
constexpr int kLaneTaps = ceil_div(kTaps, kPairLanes);
template <class T>
constexpr int kWeightParts = std::is_same_v<T, Half> ? 2 : 3;
template <class T>
constexpr int kProducts = ceil_div(kWeightParts<T>* kLaneTaps, 2);
template <class T>
constexpr int kBlocksPerSm = std::is_same_v<T, Half> ? 4 : 3;

// Positions of the gradient are counted along the block's rows, one row after the other. So many at a time:
constexpr int kStagePositions = kWarps * kMmaPositions;
constexpr int kStages = 3;  // One in use, two on their way.
// Outputs are counted as the positions are, the first at the corner of the halo. An output needs the
// positions from its own to kReach further.
constexpr int kReach = 2 * kColumns + 2;
// Of what positions give to outputs, so many positions are kept.
constexpr int kKept = 256;
static_assert(kStagePositions + kReach + kStagePositions <= kKept,
              "outputs are added up while the next positions are multiplied");

// Dynamic shared memory in bytes: stages of the gradient and of its masks; what positions give, [tap][kept
// position], in whose place the weights are before.
constexpr int kElementBytes = 2;
constexpr int kChunkElements = 8;
constexpr int kChunkBytes = kChunkElements * kElementBytes;
constexpr int kChunks = kChannels / kChunkElements;  // Of a position: all 32 banks.
constexpr int kPositionBytes = kChannels * kElementBytes;
constexpr int kStageBytes = kStagePositions * kPositionBytes;
constexpr int kMaskWords = kChannels / 32;
constexpr int kMaskBytes = kMaskWords * 4;
constexpr int kMaskStageBytes = kStagePositions * kMaskBytes;
constexpr int kMasks = kStages * kStageBytes;
constexpr int kGiven = kMasks + kStages * kMaskStageBytes;
// The eight rows and four columns of a product's sums lie in different banks.
constexpr int kGivenPitch = kKept + 8;
static_assert(kLaneTaps * kGivenPitch % 32 == 24);
constexpr int kSharedBytes = kGiven + kPairLanes * kLaneTaps * kGivenPitch * static_cast<int>(sizeof(float));
static_assert(kProducts<Bfloat16> * kSteps * kWarpSize * 8 <= kSharedBytes - kGiven);

/// The block's place in the image.
struct OutputTile {
  int image;
  int y;
  int x;
  int height;          ///< Of the image.
  int width;           ///< Of the image.
  int rows;            ///< That the block has.
  std::int64_t first;  ///< Position of the image's first one, over all images.

  __device__ int positions() const { return (rows + 2) * kColumns; }
};

/// Copies positions of the gradient and their masks, a stage at a time; zeros outside the image.
template <class T, bool kMasked>
class StageLoader {
 public:
  __device__ StageLoader(Global<const T> gradient, Global<const std::uint32_t> mask, const OutputTile& tile)
      : gradient_(gradient),
        mask_(mask),
        first_y_(tile.y - 1),
        first_x_(tile.x - 1),
        end_y_(static_cast<unsigned>(min(tile.height, tile.y + tile.rows + 1))),
        width_(static_cast<unsigned>(tile.width)),
        last_(static_cast<unsigned>(tile.height * tile.width - 1)),
        source_(tile.first * kChannels + chunk_ * kChunkElements),
        mask_source_(tile.first * kMaskWords),
        destination_(row_ * kPositionBytes + (chunk_ ^ row_ % kChunks) * kChunkBytes) {}

  template <class Memory>
  __device__ void start(const Memory& memory, int stage, int slot) const {
#pragma unroll
    for (int i = 0; i < kStagePositions / kPositionsAtOnce; ++i) {
      const Place place = place_of(stage * kStagePositions + row_ + i * kPositionsAtOnce);
      ptx::cp_async_16(
          memory + (destination_ + slot * kStageBytes + i * kPositionsAtOnce * kPositionBytes),
          gradient_.template vector_address<kChunkElements>(source_ + std::int64_t{place.at} * kChannels),
          place.inside);
    }
    const int position = static_cast<int>(threadIdx.x);
    if (kMasked && position < kStagePositions) {
      const Place place = place_of(stage * kStagePositions + position);
      ptx::cp_async_8(
          memory + (kMasks + slot * kMaskStageBytes + position * kMaskBytes),
          mask_.template vector_address<kMaskWords>(mask_source_ + std::int64_t{place.at} * kMaskWords),
          place.inside);
    }
  }

 private:
  static constexpr int kPositionsAtOnce = kThreads / kChunks;
  static_assert(kPositionsAtOnce % kChunks == 0, "all positions of a thread are swizzled alike");

  /// Where in the image a position is; if it is not, any other.
  struct Place {
    unsigned at;
    bool inside;
  };
  __device__ Place place_of(int position) const {
    const auto at = static_cast<unsigned>(position);
    const auto y = static_cast<unsigned>(first_y_ + static_cast<int>(at / kColumns));
    const auto x = static_cast<unsigned>(first_x_ + static_cast<int>(at % kColumns));
    return {min(y * width_ + x, last_), y < end_y_ && x < width_};
  }

  Global<const T> gradient_;
  Global<const std::uint32_t> mask_;
  int first_y_;  // Of the halo, which may lie outside.
  int first_x_;
  unsigned end_y_;
  unsigned width_;
  unsigned last_;  // The image's last position.
  int chunk_ = static_cast<int>(threadIdx.x % kChunks);
  int row_ = static_cast<int>(threadIdx.x / kChunks);
  std::int64_t source_;
  std::int64_t mask_source_;
  int destination_;
};

/// Byte of what a lane takes of the weights for two steps of a product: the two registers that
/// ptx::mma_m16n8k16 wants of each. Lanes change places so that threads that store the same channels for
/// several columns do so to different banks.
__device__ inline int weights_place(int product, int step_pair, int lane) {
  return kGiven + ((product * (kSteps / 2) + step_pair) * kWarpSize + (lane ^ lane / 8)) * kChunkBytes;
}

/// Keeps the parts of the weights as lanes take them. Lane l has columns 2 (l % 4) and that + 1 of the
/// products' sums, so taps 7 (l % 4) and following: the high parts, then the others. Returns what undoes
/// their scale.
template <class T>
__device__ inline float stage_weights(Global<const float> weights, auto&& memory) {
  // A lane keeps its tap; a warp takes every fourth pair of channels.
  constexpr int kLoads = kChannels / 2 / kWarps;
  static_assert(kTaps <= kWarpSize && kWarps == kPairLanes && kMmaChannels == 4 * kWarps);
  const int lane = static_cast<int>(threadIdx.x % kWarpSize);
  const int warp = static_cast<int>(threadIdx.x / kWarpSize);
  const bool has_tap = lane < kTaps;
  float loaded[kLoads][2];
#pragma unroll
  for (int i = 0; i < kLoads; ++i) {
#pragma unroll
    for (int channel = 0; channel < 2; ++channel) {
      const float weight = weights.load((2 * (warp + i * kWarps) + channel) * kTaps + min(lane, kTaps - 1));
      loaded[i][channel] = has_tap ? weight : 0.f;
    }
  }
  float scale = 1.f;
  float unscale = 1.f;
  if constexpr (std::is_same_v<T, Half>) {
    float largest = 0.f;
#pragma unroll
    for (int i = 0; i < kLoads; ++i) largest = max(max(largest, fabsf(loaded[i][0])), fabsf(loaded[i][1]));
    const int exponent = half_exponent(block_reduce<Maximum, kThreads>(largest));
    scale = power_of_two(exponent);
    unscale = power_of_two(-exponent);
  }
  if (lane >= kPairLanes * kLaneTaps) return unscale;
  int places[kWeightParts<T>];
#pragma unroll
  for (int part = 0; part < kWeightParts<T>; ++part) {
    const int sum = part * kLaneTaps + lane % kLaneTaps;
    const int column = lane / kLaneTaps * 2 + sum % 2;
    places[part] = weights_place(sum / 2, 0, column * kPairLanes + warp);
  }
#pragma unroll
  for (int i = 0; i < kLoads; ++i) {
    // Pair warp + 4 i: step i / 2, register i % 2 of the lane that has the pair.
    const int place = i / 4 * kWarpSize * kChunkBytes + i % 4 * static_cast<int>(sizeof(std::uint32_t));
    float rest[2] = {loaded[i][0] * scale, loaded[i][1] * scale};
#pragma unroll
    for (int part = 0; part < kWeightParts<T>; ++part) {
      const std::uint32_t word = ptx::round_pair<T>(rest[0], rest[1]);
      const auto rounded = std::bit_cast<Vector<T, 2>>(word);
#pragma unroll
      for (int channel = 0; channel < 2; ++channel) rest[channel] -= to_float(rounded[channel]);
      *reinterpret_cast<std::uint32_t*>(&memory[places[part] + place]) = word;
    }
  }
  return unscale;
}

template <class T>
using Weights = std::uint32_t[kProducts<T>][kSteps][2];

template <class T, class Memory>
__device__ inline void load_weights(Weights<T>& weights, const Memory& memory, int lane) {
#pragma unroll
  for (int product = 0; product < kProducts<T>; ++product) {
#pragma unroll
    for (int pair = 0; pair < kSteps / 2; ++pair) {
      const Words words = *reinterpret_cast<const Words*>(&memory[weights_place(product, pair, lane)]);
#pragma unroll
      for (int i = 0; i < 4; ++i) weights[product][2 * pair + i / 2][i % 2] = words[i];
    }
  }
}

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
  const unsigned tiles_across = ceil_div(static_cast<unsigned>(width), unsigned{kWidth});
  OutputTile tile{};
  tile.image = static_cast<int>(blockIdx.y);
  tile.y = static_cast<int>(blockIdx.x / tiles_across) * kHeight;
  tile.x = static_cast<int>(blockIdx.x % tiles_across) * kWidth;
  tile.height = height;
  tile.width = width;
  tile.rows = min(height - tile.y, kHeight);
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
    if (row >= tile.rows || column >= min(kWidth, width - tile.x)) continue;
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
    const int tiles = ceil_div(arguments.height, kHeight) * ceil_div(arguments.width, kWidth);
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
