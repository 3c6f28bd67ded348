// Convolution as a matrix product ("implicit GEMM") on Hopper's tensor cores: wgmma, fed by the copy engine.
// Rows are output positions, 2x2 windows of them, of all images one after the other; columns are output
// channels, and the sum runs over 9 taps x in_channels.
//
// The floor is that of convolution_implicit_gemm.cu: 18 C K FLOP per position against 2 (C + K) + K / 8 bytes
// of memory, arithmetic from 64 channels on. mma.sync, the product of one warp, gets at most two thirds of
// what an sm_90 can do; wgmma gets all of it if it is fed, and that is what this kernel is about:
// - L2 to shared memory. A block has 64 windows, 256 positions, x 128 channels. Per slice of 64 inputs
//   it loads the strip of positions that all nine taps need, once, and the weights of each tap: at 24x24 197
//   FLOP per byte, so 800 TFLOP/s ask 4.1 TB/s of L2. Where all weights of a layer fit (64 to 64 channels), a
//   block keeps them for all its tiles, and the strips alone are 280 FLOP per byte.
// - Shared memory to tensor cores, 128 bytes per clock and SM. Per 16 input channels a warpgroup multiplies
//   64 positions with 128 channels in 64 clocks, in which the weights are read once (4 KB) and the positions
//   (2 KB, by ldmatrix) two times out of three: with their windows' upper row in one product and the lower in
//   another, two rows of outputs take four rows of inputs for the three taps of a column, not six. That is
//   two thirds of what the memory gives; with 64 channels it is five sixths, which is the bound there.
// - Registers to memory. The sums go from registers to memory without a way through shared memory; the lanes
//   of a quad exchange words so that each stores 16 bytes. No barrier ties the warpgroups of a block
//   together, and the copies for the next tile are under way.
// - Somebody always multiplies. One warpgroup can keep the tensor cores busy, but warpgroups that begin
//   together also end together, and then all of them store: the fewer inputs, the more of the time. On an
//   H200 512 inputs get 800 TFLOP/s, 256 get 740, 128 get 680, and 64 to 64 at 96x96 with a pool, 4600 clocks
//   of products to a tile, 473. So each begins later than the one before it (convolution_wgmma_staggered),
//   once: whoever is alone while the others store keeps its distance. And where sums are few enough for it
//   there are three (convolution_wgmma_large); at 96x96 their 96 windows are two whole rows, whose strip is
//   no longer than that of 64, a third less of L2. At most the bound above can be reached with 64 to 64
//   channels, 650 TFLOP/s, which is 0.2 ms less for 512 images.
// - Pools. Where a 2x2 max-pool follows, the epilogue takes it and writes a quarter of the map and 3 bits for
//   each of its elements; a pass of its own would write the map and read it again. Two lanes exchange half of
//   what they have of two windows, and that is all. Backward, strips are not copied but made, by warps
//   of their own, from the gradient of the pool's output and the bits; again the map is neither
//   written nor read. At 96x96 and 64 channels that saves 4 x 1.2 MB of memory for each image and iteration,
//   1.3 us on an H200.
//
// Why positions come through registers: neighbours outside an image are not in the strip, which has those of
// the next row or image there. ldmatrix takes such a row from a line of zeros, row by row; a matrix that
// wgmma reads from shared memory by itself has no such exceptions, and padding maps with zeros would cost 8 %
// of the products at 24x24 and 15 % at 12x12.

#include <algorithm>

#include "common/chunk.h"
#include "common/global.h"
#include "common/launch.h"
#include "common/pool_bits.h"
#include "common/reduce.h"
#include "common/ring.h"
#include "common/taps.h"
#include "common/tensor_map.h"
#include "common/windows.h"
#include "convolution.h"
#include "ptx/clock.h"
#include "ptx/convert.h"
#include "ptx/ldmatrix.h"
#include "ptx/registers.h"
#include "ptx/tma.h"
#include "ptx/wgmma.h"

namespace filterscope::kernels {
namespace {

// Code for other architectures than sm_90a is empty, and never launched.
#if defined(FILTERSCOPE_EMULATED) || defined(__CUDA_ARCH_FEAT_SM90_ALL)
constexpr bool kHasWgmma = true;
#else
constexpr bool kHasWgmma = false;
#pragma nv_diag_suppress 177  // Nothing that the kernel would need is used then.
#endif

constexpr int kKernelSize = 3;
constexpr int kTaps = kKernelSize * kKernelSize;
constexpr int kSliceChannels = 64;
constexpr int kElementBytes = 2;
constexpr int kRowBytes = kSliceChannels * kElementBytes;
static_assert(kRowBytes == kBoxRowBytes, "a row of shared memory is that of a box");
constexpr int kChunkBytes = 16;
constexpr int kChunkElements = kChunkBytes / kElementBytes;
constexpr int kLineBytes = 128;  // All 32 banks.
constexpr int kSwizzleBytes = 1024;
constexpr int kSwizzleRows = kSwizzleBytes / kRowBytes;

constexpr int kWarpgroupWarps = 4;
constexpr int kProductDepth = 16;  // Shape of ptx::wgmma_m64k16, of which a warp has 16 rows.
constexpr int kWarpRows = 16;
constexpr int kQuadLanes = 4;
constexpr int kSteps = kSliceChannels / kProductDepth;

// A warp has eight windows side by side: of a product 16 rows, which are a row of the windows, from left to
// right. Two products have both rows.
constexpr int kProducts = 2;
constexpr int kWarpWindows = kWarpRows / 2;
constexpr int kInputRows = kProducts + kKernelSize - 1;  // Of the strip, that they take.

constexpr int kStrips = 2;
constexpr int kFewestStages = kKernelSize + 1;  // A column of taps, and the last one of the column before.
constexpr int kMostStages = 16;
constexpr int kSharedLimit = 227 * 1024;  // Of a block on sm_90.
constexpr int kMostBoxRows = 256;
constexpr int kMultiprocessorRegisters = 64 * 1024;

/// A block's part of the product. Two or three warpgroups multiply; of another one a thread starts the
/// copies. Where strips are made, its other warps and one more warpgroup make them: alone, the three would
/// take twice as long as the products (measured on an H200 at 96x96, 64 to 64 channels).
template <int kChannels_, int kWarpgroups_>
struct Tile {
  static constexpr int kWarpgroups = kWarpgroups_;  ///< That multiply.
  static constexpr int kMultiplyingWarps = kWarpgroups * kWarpgroupWarps;
  static constexpr int kWindows = kMultiplyingWarps * kWarpWindows;  ///< Of output positions.
  static constexpr int kChannels = kChannels_;                       ///< Of the output.
  static constexpr int kCopyingWarp = kMultiplyingWarps;
  static constexpr int kMakingWarps = 2 * kWarpgroupWarps - 1;
  static constexpr int kSums = kChannels / 2;                            ///< Of a thread, per product.
  static constexpr int kTapClocks = kSteps * kProducts * kChannels / 2;  ///< Of a warpgroup's products.
  /// Clocks: about what a tile takes beyond its products, of which an H200 was seen to need 4500 to 6500 with
  /// 128 channels.
  static constexpr int kStoreClocks = 48 * kProducts * kSums;
  static constexpr int kStageBytes = kChannels * kRowBytes;
  static constexpr int kWords = kChannels / 32;  ///< Of a mask.

  static_assert(kWords <= kQuadLanes, "each lane of a quad has a word of the gate and of the mask");
};

/// How many threads of a block multiply, how many do not, and how many registers each of them has.
template <class Tile, FusedPool kPool>
struct Threads {
  static constexpr int kMultiplying = Tile::kMultiplyingWarps * kWarpSize;
  static constexpr int kOther = (kPool == FusedPool::input ? 2 : 1) * kWarpgroupWarps * kWarpSize;
  static constexpr int kAll = kMultiplying + kOther;

  // A launch gives all of them the same number, and those that multiply need more than others: some 200 for
  // 128 channels.
  static constexpr int kStep = 8;
  static constexpr int kLaunched = kMultiprocessorRegisters / kAll / kStep * kStep;
  static constexpr int kOtherRegisters = kPool == FusedPool::input ? 48 : Tile::kWarpgroups == 2 ? 72 : 40;
  static constexpr int kMultiplyingRegisters =
      (kLaunched * kAll - kOtherRegisters * kOther) / kMultiplying / kStep * kStep;
  static_assert(kOtherRegisters >= ptx::kFewestRegisters && kOtherRegisters <= kLaunched,
                "registers that are given away must have been there");
  static_assert(kMultiplyingRegisters >= kLaunched && kMultiplyingRegisters <= ptx::kMostRegisters,
                "registers are taken, and no more than a thread can have");
};

/// What the host works out once per launch.
struct Geometry {
  int height;
  int width;
  Windows windows;
  int windows_count;  ///< Of all images.
  int out_channels;
  int slices;  ///< Of the input channels.
  int channel_tiles;
  int tiles;
  int boxes;  ///< Of a strip.
  int box_rows;
  int stages;     ///< Tiles of weights that shared memory has room for.
  bool resident;  ///< It has room for all there are.
  int stagger;    ///< Clocks by which a warpgroup begins after the one before it.

  __host__ __device__ constexpr int strip_rows() const { return boxes * box_rows; }
  __host__ __device__ constexpr int strip_bytes() const { return strip_rows() * kRowBytes; }
};

/// How far before its first position a tile's strip begins: a row and a position, or, for strips that are
/// made of pairs of positions, two.
template <FusedPool kPool>
__host__ __device__ constexpr int strip_margin(int width) {
  return width + (kPool == FusedPool::input ? 2 : 1);
}

// Dynamic shared memory in bytes: a line of zeros, the mbarriers, the stages of weights, two strips.
constexpr int kZeros = 0;
constexpr int kWeights = kSwizzleBytes;
constexpr int kStripBarriers = kZeros + kLineBytes;
constexpr int kStageBarriers = kStripBarriers + kStrips * kRingBarrierBytes;
static_assert(kStageBarriers + kMostStages * kRingBarrierBytes <= kWeights);

/// The tiles of a block, one after the other. Blocks at the same time have the same positions, if the
/// channels need several tiles, so that they find their input in L2.
template <class Tile>
struct TileWalk {
  int tile = static_cast<int>(blockIdx.x);

  __device__ bool more(const Geometry& geometry) const { return tile < geometry.tiles; }
  __device__ void advance() { tile += static_cast<int>(gridDim.x); }
  __device__ bool first() const { return tile == static_cast<int>(blockIdx.x); }
  __device__ int first_window(const Geometry& geometry) const {
    return tile / geometry.channel_tiles * Tile::kWindows;
  }
  __device__ int first_channel(const Geometry& geometry) const {
    return tile % geometry.channel_tiles * Tile::kChannels;
  }
  template <FusedPool kPool>
  __device__ int strip_position(const Geometry& geometry) const {
    return geometry.windows.place(first_window(geometry)).position - strip_margin<kPool>(geometry.width);
  }
};

// ---- copying

/// What one thread does: it starts all copies of the block, as soon as there is room for them. Of the taps
/// those of a column follow each other.
template <class Tile, FusedPool kPool, class Memory>
__device__ inline void copy_all(const Memory& memory, const Geometry& geometry, const TensorMap& input,
                                const TensorMap& weights, Ring<Memory>& strips, Ring<Memory>& stages) {
  const int first_strip = kWeights + geometry.stages * Tile::kStageBytes;
  const int box_bytes = geometry.box_rows * kRowBytes;
  if constexpr (kPool != FusedPool::input) ptx::tma_prefetch(input);
  ptx::tma_prefetch(weights);
  for (TileWalk<Tile> walk; walk.more(geometry); walk.advance()) {
    const int first = walk.template strip_position<kPool>(geometry);
    for (int slice = 0; slice < geometry.slices; ++slice) {
      if constexpr (kPool != FusedPool::input) {
        strips.wait_empty();
        void* const strip_full = strips.expect(geometry.strip_bytes());
        const int strip = first_strip + strips.index() * geometry.strip_bytes();
        for (int box = 0; box < geometry.boxes; ++box) {
          ptx::tma_load(memory + (strip + box * box_bytes), input, first + box * geometry.box_rows,
                        slice * kSliceChannels, strip_full);
        }
        strips.advance();
      }
      if (geometry.resident && !walk.first()) continue;
      for (int column = 0; column < kKernelSize; ++column) {
        for (int tap = column; tap < kTaps; tap += kKernelSize) {
          stages.wait_empty();
          void* const stage_full = stages.expect(Tile::kStageBytes);
          ptx::tma_load(memory + (kWeights + stages.index() * Tile::kStageBytes), weights,
                        walk.first_channel(geometry), (tap * geometry.slices + slice) * kSliceChannels,
                        stage_full);
          stages.advance();
        }
      }
    }
  }
}

/// The gradient of a pool's output.
template <class T>
struct PoolGradient {
  Global<const T> gradient;
  Global<const std::uint16_t> winners;  ///< Of a chunk.
  Global<const std::uint8_t> open;      ///< Of a chunk.
  int channels;
};

/// What the making warps do: each strip is the gradient of the pool's output, taken through pool and ReLU.
template <class T, class Tile, class Memory>
__device__ inline void make_strips(const Memory& memory, const Geometry& geometry,
                                   const PoolGradient<T>& source, Ring<Memory>& strips) {
  // A thread makes pairs of positions side by side, which are half a window, for one chunk of channels.
  constexpr int kChunks = kSliceChannels / kChunkElements;
  constexpr int kPairs = Tile::kMakingWarps * kWarpSize / kChunks;  // At a time.
  constexpr int kUnrolled = 2;                                      // As many as there are registers for.
  static_assert(2 * kPairs % kSwizzleRows == 0, "all rows of a thread are swizzled alike");
  const int thread = static_cast<int>(threadIdx.x) - (Tile::kCopyingWarp + 1) * kWarpSize;
  const int chunk = thread % kChunks;
  const int own_pair = thread / kChunks;
  const int own_row = 2 * own_pair;
  const int to = kWeights + geometry.stages * Tile::kStageBytes + own_row * kRowBytes;
  const int left = (chunk ^ (own_row & (kSwizzleRows - 1))) * kChunkBytes;
  const int right = kRowBytes + (chunk ^ ((own_row + 1) & (kSwizzleRows - 1))) * kChunkBytes;
  const int columns = geometry.windows.columns().divisor();
  const int pairs = geometry.strip_rows() / 2;
  const int all_pairs = geometry.windows_count * 2;
  for (TileWalk<Tile> walk; walk.more(geometry); walk.advance()) {
    const int first_pair = walk.template strip_position<FusedPool::input>(geometry) / 2;
    for (int slice = 0; slice < geometry.slices; ++slice) {
      strips.wait_empty();
      const int strip = to + strips.index() * geometry.strip_bytes();
      const int first_chunk = slice * kChunks + chunk;
      for (int done = 0; own_pair + done < pairs; done += kUnrolled * kPairs) {
        Chunk gradient[kUnrolled] = {};
        std::uint32_t winners[kUnrolled] = {};
        std::uint32_t open[kUnrolled] = {};
        int row_of_window[kUnrolled] = {};
#pragma unroll
        for (int i = 0; i < kUnrolled; ++i) {
          const int pair = first_pair + own_pair + done + i * kPairs;
          if (pair < 0 || pair >= all_pairs) continue;
          const int line = geometry.windows.columns().quotient(pair);  // Of positions, over all images.
          row_of_window[i] = line % 2;
          const int window = line / 2 * columns + pair - line * columns;
          const std::int64_t at =
              static_cast<std::int64_t>(window) * (source.channels / kChunkElements) + first_chunk;
          gradient[i] = __builtin_bit_cast(
              Chunk, source.gradient.template load_vector<kChunkElements>(at * kChunkElements));
          winners[i] = source.winners.load(at);
          open[i] = source.open.load(at);
        }
#pragma unroll
        for (int i = 0; i < kUnrolled; ++i) {
          if (own_pair + done + i * kPairs >= pairs) continue;
          const int pair_at = strip + (done + i * kPairs) * 2 * kRowBytes;
          const auto store = [&](int at, int column) {
            *reinterpret_cast<Chunk*>(&memory[pair_at + at]) =
                unpool_chunk(gradient[i], winners[i], open[i], 2 * row_of_window[i] + column);
          };
          store(left, 0);
          store(right, 1);
        }
      }
      __syncwarp();
      if (thread % kWarpSize == 0) strips.fill();
      strips.advance();
    }
  }
}

// ---- the product

/// Which thread of the block has what.
struct Lane {
  int lane = static_cast<int>(threadIdx.x % kWarpSize);
  int warp = static_cast<int>(threadIdx.x / kWarpSize);
  int first_window = warp * kWarpWindows;  ///< Of the tile: the warp's first.
  int quad = lane / kQuadLanes;
  int in_quad = lane % kQuadLanes;
};

/// Of a thread, as ptx::wgmma_m64k16 has them.
template <class Tile>
using Sums = float[kProducts][Tile::kSums];
using Fragments = std::uint32_t[kSteps][4];

/// Reads what the warp's rows have of the input, shifted by a tap. Where a tap leaves the image, lanes read
/// zeros instead of the strip.
template <FusedPool kPool>
class FragmentLoader {
 public:
  __device__ explicit FragmentLoader(const Lane& lane) : chunk_(lane.lane / kWarpRows * kChunkBytes) {}

  __device__ void begin_tile(const Geometry& geometry, const Lane& lane, int first_window) {
    const int row = lane.lane % kWarpRows;
    const Windows::Place place = geometry.windows.place(first_window + lane.first_window + row / 2);
    const int margin = strip_margin<kPool>(geometry.width) - geometry.width - 1;
    row_ = place.position + row % 2 - geometry.windows.place(first_window).position + margin;
    inside_ = taps_inside<kInputRows>(place.y, place.x + row % 2, geometry.height, geometry.width);
  }

  /// All channels of the slice. `input_row` is a row of the windows and their neighbours, counted from the
  /// one above them, `column` one of the taps', and the strip begins at byte `strip`.
  template <class Memory>
  __device__ void load(Fragments& fragments, const Memory& memory, const Geometry& geometry, int strip,
                       int input_row, int column) const {
    const int row = row_ + input_row * geometry.width + column;
    int at = strip + row * kRowBytes + (chunk_ ^ (row & (kSwizzleRows - 1)) * kChunkBytes);
    const bool inside = (inside_ >> (input_row * kKernelSize + column) & 1u) != 0;
    if (!inside) at = kZeros + (at & (kLineBytes - 1));  // The same banks.
#pragma unroll
    for (int step = 0; step < kSteps; ++step) {
      ptx::ldmatrix_x4(fragments[step], memory + (at ^ step * kProductDepth * kElementBytes));
    }
  }

 private:
  int chunk_;        // Byte in a row of the strip.
  int row_;          // Of the strip, for the first tap.
  unsigned inside_;  // Bit 3 r + s: whether column s of input row r is in the image.
};

/// Adds the whole product of a tile to the sums.
template <class T, class Tile, class Loader, class Memory>
__device__ inline void multiply_tile(Sums<Tile>& sums, const Memory& memory, const Geometry& geometry,
                                     const Lane& lane, const Loader& loader, Ring<Memory>& strips,
                                     Ring<Memory>& stages, bool weights_are_there) {
  const int first_strip = kWeights + geometry.stages * Tile::kStageBytes;
  const std::uint64_t descriptor = ptx::wgmma_descriptor(memory + kWeights);
  const bool releases = lane.lane == 0;
  const bool releases_stages = releases && !geometry.resident;
  // While one row of inputs is multiplied, the next one is read to other registers.
  Fragments fragments[2];
  int last_stage = -1;  // Of the column before.
  for (int slice = 0; slice < geometry.slices; ++slice) {
    strips.wait_full();
    const int strip = first_strip + strips.index() * geometry.strip_bytes();
#pragma unroll 1
    for (int column = 0; column < kKernelSize; ++column) {
      int stage[kKernelSize];
      // An input row is that of tap row i for the upper outputs, and of i - 1 for the lower ones.
#pragma unroll
      for (int input_row = 0; input_row < kInputRows; ++input_row) {
        loader.load(fragments[input_row % 2], memory, geometry, strip, input_row, column);
        // Not tap by tap: with waits among the products ptxas would run them one after the other.
        if (input_row == 0) {
#pragma unroll
          for (int& of_tap : stage) {
            if (!weights_are_there) stages.wait_full();
            of_tap = stages.index();
            stages.advance();
          }
        }
        ptx::wgmma_fence();
#pragma unroll
        for (int step = 0; step < kSteps; ++step) {
#pragma unroll
          for (int product = 0; product < kProducts; ++product) {
            const int tap_row = input_row - product;
            if (tap_row < 0 || tap_row >= kKernelSize) continue;
            ptx::wgmma_m64k16<T>(sums[product], fragments[input_row % 2][step],
                                 descriptor +
                                     static_cast<std::uint64_t>(stage[tap_row] * (Tile::kStageBytes >> 4)) +
                                     step * ptx::kDescriptorStep,
                                 slice > 0 || column > 0 || tap_row > 0 || step > 0);
          }
        }
        ptx::wgmma_commit();
        ptx::wgmma_wait<1>();
        // The row before is done, and with it the taps of the row before that one.
        if (input_row == 0 && last_stage >= 0 && releases_stages) stages.release(last_stage);
        if (input_row >= 2 && releases_stages) stages.release(stage[input_row - 2]);
      }
      last_stage = stage[kKernelSize - 1];
    }
    // What is still multiplied is in registers.
    if (releases) strips.release(strips.index());
    strips.advance();
  }
  ptx::wgmma_wait<0>();
  if (releases_stages) stages.release(last_stage);
#pragma unroll
  for (int product = 0; product < kProducts; ++product) ptx::wgmma_done(sums[product]);
}

// ---- epilogue

template <class T>
struct Outputs {
  Global<T> output;
  Global<std::uint32_t> mask;
  Global<const std::uint32_t> gate;
  Global<const float> bias;       ///< And ReLU.
  Global<std::uint32_t> winners;  ///< Of a pool.
  Global<std::uint32_t> open;
};

/// The biases of a word's channels that a lane has sums of.
using LaneBias = Vector<float, 2>[kQuadLanes];
constexpr int kQuadColumns = 8;  // That a quad has together.

template <class T>
__device__ inline void load_bias(LaneBias& bias, const Outputs<T>& outputs, const Lane& lane,
                                 int first_channel) {
#pragma unroll
  for (int i = 0; i < kQuadLanes; ++i) {
    bias[i] = outputs.bias.template load_vector<2>(first_channel + i * kQuadColumns + lane.in_quad * 2);
  }
}

/// Lane i of each quad gets word i of its lanes, in their order.
__device__ inline void transpose_quad(std::uint32_t (&words)[kQuadLanes], int in_quad) {
#pragma unroll
  for (int distance = 1; distance < kQuadLanes; distance *= 2) {
    const bool upper = (in_quad & distance) != 0;
#pragma unroll
    for (int i = 0; i < kQuadLanes; ++i) {
      if ((i & distance) != 0) continue;
      const std::uint32_t given = upper ? words[i] : words[i + distance];
      const std::uint32_t taken = __shfl_xor_sync(kFullWarp, given, distance);
      if (upper) {
        words[i] = taken;
      } else {
        words[i + distance] = taken;
      }
    }
  }
}

/// With `kGradient` there is neither bias nor mask.
template <class T, class Tile, bool kGradient>
__device__ inline void store_tile(const Outputs<T>& outputs, const Sums<Tile>& sums, const Geometry& geometry,
                                  const Lane& lane, int first_window, int first_channel) {
  constexpr int kRows = 2 * kProducts;  // Of a lane.
  constexpr int kOutside = -1;
  const bool has_bias = !kGradient && outputs.bias;
  const bool has_mask = !kGradient && outputs.mask;
  const int words = geometry.out_channels / 32;
  const int shift = lane.in_quad * kChunkElements;  // Of the lane's bits in a word.
  // A lane's rows of a product belong to two windows.
  int positions[kRows];
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int window = first_window + lane.first_window + half * (kWarpWindows / 2) + lane.quad / 2;
    const Windows::Place place = geometry.windows.place(window);
    const int x = lane.quad % 2;
    const bool inside = window < geometry.windows_count && place.x + x < geometry.width;
#pragma unroll
    for (int product = 0; product < kProducts; ++product) {
      positions[2 * product + half] = inside && place.y + product < geometry.height
                                          ? place.position + product * geometry.width + x
                                          : kOutside;
    }
  }
  const auto word_of = [&](int position) {
    return static_cast<std::int64_t>(position) * words + (first_channel / 32 + lane.in_quad);
  };
  const bool has_word = lane.in_quad < Tile::kWords;
  std::uint32_t gates[kRows];
#pragma unroll
  for (int row = 0; row < kRows; ++row) {
    const bool wanted = outputs.gate && has_word && positions[row] != kOutside;
    gates[row] = wanted ? outputs.gate.load(word_of(positions[row])) : 0;
  }
  std::uint32_t masks[kRows] = {};
#pragma unroll
  for (int word = 0; word < Tile::kWords; ++word) {
    LaneBias bias = {};
    if (has_bias) load_bias(bias, outputs, lane, first_channel + word * 32);
#pragma unroll
    for (int row = 0; row < kRows; ++row) {
      std::uint32_t pairs[kQuadLanes];
#pragma unroll
      for (int i = 0; i < kQuadLanes; ++i) {
        const int sum = (word * kQuadLanes + i) * 4 + row % 2 * 2;
        float first = sums[row / 2][sum];
        float second = sums[row / 2][sum + 1];
        if constexpr (!kGradient) {
          first += bias[i][0];
          second += bias[i][1];
        }
        pairs[i] = has_bias ? ptx::relu_pair<T>(first, second)
                            : __builtin_bit_cast(std::uint32_t,
                                                 Vector<T, 2>{from_float<T>(first), from_float<T>(second)});
      }
      transpose_quad(pairs, lane.in_quad);
      Chunk chunk{pairs[0], pairs[1], pairs[2], pairs[3]};
      if (outputs.gate) {
        const std::uint32_t gate =
            __shfl_sync(kFullWarp, gates[row], lane.lane / kQuadLanes * kQuadLanes + word);
        apply_gate(chunk, gate >> shift & 0xffu);
      }
      if (positions[row] != kOutside) {
        const std::int64_t first =
            static_cast<std::int64_t>(positions[row]) * geometry.out_channels + first_channel;
        outputs.output.template store_vector<kChunkElements>(
            first + word * 32 + lane.in_quad * kChunkElements,
            __builtin_bit_cast(Vector<T, kChunkElements>, chunk));
      }
      if (has_mask) {
        const std::uint32_t bits = join_bits<kQuadLanes>(above_zero(chunk) << shift);
        if (lane.in_quad == word) masks[row] = bits;
      }
    }
  }
  if (has_mask && has_word) {
#pragma unroll
    for (int row = 0; row < kRows; ++row) {
      if (positions[row] != kOutside) outputs.mask.store(word_of(positions[row]), masks[row]);
    }
  }
}

/// The same for a pool's output. A lane has of two windows the left elements or the right ones; it gets the
/// others of one of them from the lane beside it, quad / 2 of the first four or of the second four.
template <class T, class Tile>
__device__ inline void store_pooled_tile(const Outputs<T>& outputs, const Sums<Tile>& sums,
                                         const Geometry& geometry, const Lane& lane, int first_window,
                                         int first_channel) {
  const int right = lane.quad % 2;
  const int window = first_window + lane.first_window + right * (kWarpWindows / 2) + lane.quad / 2;
  const bool inside = window < geometry.windows_count;
  const std::int64_t first = static_cast<std::int64_t>(window) * geometry.out_channels + first_channel;
#pragma unroll
  for (int word = 0; word < Tile::kWords; ++word) {
    LaneBias bias;
    load_bias(bias, outputs, lane, first_channel + word * 32);
    std::uint32_t pooled[kQuadLanes];
    std::uint32_t winners[2] = {};
    std::uint32_t open = 0;
#pragma unroll
    for (int i = 0; i < kQuadLanes; ++i) {
      const auto pair = [&](int product, int half) {
        const int sum = (word * kQuadLanes + i) * 4 + half * 2;
        return ptx::relu_pair<T>(sums[product][sum] + bias[i][0], sums[product][sum + 1] + bias[i][1]);
      };
      std::uint32_t elements[kPoolWindow];
#pragma unroll
      for (int product = 0; product < kProducts; ++product) {
        const std::uint32_t first_half = pair(product, 0);
        const std::uint32_t second_half = pair(product, 1);
        const std::uint32_t own = right == 0 ? first_half : second_half;
        const std::uint32_t beside =
            __shfl_xor_sync(kFullWarp, right == 0 ? second_half : first_half, kQuadLanes);
        elements[2 * product] = right == 0 ? own : beside;
        elements[2 * product + 1] = right == 0 ? beside : own;
      }
      const PooledWord result = pool_word(elements);
      pooled[i] = result.values;
      winners[i / 2] |= result.winners << (i % 2 * 2 * kQuadColumns + 4 * lane.in_quad);
    }
    transpose_quad(pooled, lane.in_quad);
    const Chunk chunk{pooled[0], pooled[1], pooled[2], pooled[3]};
    open = join_bits<kQuadLanes>(above_zero(chunk) << lane.in_quad * kChunkElements);
#pragma unroll
    for (std::uint32_t& bits : winners) bits = join_bits<kQuadLanes>(bits);
    if (!inside) continue;
    const std::int64_t channel = first + word * 32;
    outputs.output.template store_vector<kChunkElements>(
        channel + lane.in_quad * kChunkElements, __builtin_bit_cast(Vector<T, kChunkElements>, chunk));
    if (lane.in_quad == word) {
      outputs.winners.template store_vector<2>(channel / kChannelsPerWinners, {winners[0], winners[1]});
      outputs.open.store(channel / kChannelsPerOpen, open);
    }
  }
}

// ---- the kernel

template <class T, class Tile, FusedPool kPool>
__global__ void __launch_bounds__(Threads<Tile, kPool>::kAll, 1)
    wgmma_kernel([[maybe_unused]] const __grid_constant__ TensorMap input,
                 [[maybe_unused]] const __grid_constant__ TensorMap weights,
                 [[maybe_unused]] PoolGradient<T> pool_gradient, [[maybe_unused]] Outputs<T> outputs,
                 [[maybe_unused]] Geometry geometry) {
  if constexpr (kHasWgmma) {
    FILTERSCOPE_DYNAMIC_SHARED(unsigned char, memory);
    Ring strips(memory, kStripBarriers, kStrips);
    Ring stages(memory, kStageBarriers, geometry.stages);
    if (threadIdx.x == 0) {
      strips.init(kPool == FusedPool::input ? Tile::kMakingWarps : 1, Tile::kMultiplyingWarps);
      stages.init(1, Tile::kMultiplyingWarps);
      ptx::mbarrier_init_fence();
    }
    if (threadIdx.x < kLineBytes) memory[kZeros + threadIdx.x] = 0;
    __syncthreads();

    const Lane lane;
    if (lane.warp >= Tile::kMultiplyingWarps) {
      ptx::give_registers<Threads<Tile, kPool>::kOtherRegisters>();
      if (lane.warp == Tile::kCopyingWarp) {
        if (lane.lane == 0) copy_all<Tile, kPool>(memory, geometry, input, weights, strips, stages);
      } else if constexpr (kPool == FusedPool::input) {
        make_strips<T, Tile>(memory, geometry, pool_gradient, strips);
      }
      return;
    }
    ptx::take_registers<Threads<Tile, kPool>::kMultiplyingRegisters>();
    ptx::wait_clocks(lane.warp / kWarpgroupWarps * geometry.stagger);
    FragmentLoader<kPool> loader(lane);
    for (TileWalk<Tile> walk; walk.more(geometry); walk.advance()) {
      const int first_window = walk.first_window(geometry);
      const int first_channel = walk.first_channel(geometry);
      loader.begin_tile(geometry, lane, first_window);
      Sums<Tile> sums;
      multiply_tile<T, Tile>(sums, memory, geometry, lane, loader, strips, stages,
                             geometry.resident && !walk.first());
      if constexpr (kPool == FusedPool::output) {
        store_pooled_tile<T, Tile>(outputs, sums, geometry, lane, first_window, first_channel);
      } else {
        store_tile<T, Tile, kPool == FusedPool::input>(outputs, sums, geometry, lane, first_window,
                                                       first_channel);
      }
    }
  }
}

// ---- launch

/// Rows of a strip: what the tile with the furthest reach needs.
template <class Tile>
constexpr int strip_rows(const ConvolutionShape& shape, const Windows& windows) {
  int reach = 0;  // From a tile's first position to its last.
  int first = 0;
  do {
    const int last = windows.place(first + Tile::kWindows - 1).position + shape.width + 1;
    reach = std::max(reach, last - windows.place(first).position);
    first += Tile::kWindows;
  } while (first % windows.per_image() != 0);
  const int before = shape.pool == FusedPool::input ? strip_margin<FusedPool::input>(shape.width)
                                                    : strip_margin<FusedPool::none>(shape.width);
  return before + reach + 1 + shape.width + 1;
}

template <class Tile>
constexpr Geometry geometry_of(int images, const ConvolutionShape& shape) {
  const Windows windows(shape.height, shape.width);
  Geometry geometry{.height = shape.height,
                    .width = shape.width,
                    .windows = windows,
                    .windows_count = images * windows.per_image(),
                    .out_channels = shape.out_channels,
                    .slices = shape.in_channels / kSliceChannels,
                    .channel_tiles = shape.out_channels / Tile::kChannels,
                    .tiles = 0,
                    .boxes = 0,
                    .box_rows = 0,
                    .stages = 0,
                    .resident = false,
                    .stagger = 0};
  geometry.tiles = divide_up(geometry.windows_count, Tile::kWindows) * geometry.channel_tiles;
  const int rows = strip_rows<Tile>(shape, windows);
  geometry.boxes = divide_up(rows, kMostBoxRows);
  geometry.box_rows = divide_up(divide_up(rows, geometry.boxes), kSwizzleRows) * kSwizzleRows;
  const int left = kSharedLimit - kWeights - kStrips * geometry.strip_bytes();
  const int weight_tiles = kTaps * geometry.slices;
  geometry.stages = std::clamp(left / Tile::kStageBytes, 0, std::min(kMostStages, weight_tiles));
  geometry.resident = geometry.channel_tiles == 1 && geometry.stages == weight_tiles;
  return geometry;
}

/// Clocks by which a warpgroup is to begin after the one before it: until that one's tile is stored, or as
/// far as the stages let it run ahead, whole columns of taps.
template <class Tile>
constexpr int stagger_of(const Geometry& geometry) {
  const int ahead = geometry.stages / kKernelSize * kKernelSize;
  return std::min(Tile::kStoreClocks, ahead * Tile::kTapClocks);
}

using Tile128 = Tile<128, 2>;
using Tile64 = Tile<64, 2>;
using LargeTile64 = Tile<64, 3>;

int multiprocessors() {
#if defined(FILTERSCOPE_EMULATED)
  return 2;
#else
  int device = 0;
  int count = 0;
  if (cudaGetDevice(&device) != cudaSuccess ||
      cudaDeviceGetAttribute(&count, cudaDevAttrMultiProcessorCount, device) != cudaSuccess) {
    throw LaunchError("convolution_wgmma: the device does not say how many multiprocessors it has");
  }
  return count;
#endif
}

template <class T, class Tile, FusedPool kPool>
void launch_tile(const ConvolutionArguments<T>& arguments, cudaStream_t stream, bool staggered) {
  Geometry geometry = geometry_of<Tile>(arguments.images_count, {.height = arguments.height,
                                                                 .width = arguments.width,
                                                                 .in_channels = arguments.in_channels,
                                                                 .out_channels = arguments.out_channels,
                                                                 .pool = kPool});
  if (staggered) geometry.stagger = stagger_of<Tile>(geometry);
  if (geometry.tiles == 0) return;
  if (geometry.stages < kFewestStages)
    throw LaunchError("convolution_wgmma: a map too wide for shared memory");
  const int input_rows = kPool == FusedPool::input
                             ? geometry.windows_count
                             : arguments.images_count * arguments.height * arguments.width;
  const TensorMap input =
      make_tensor_map(arguments.input, input_rows, arguments.in_channels, geometry.box_rows);
  const TensorMap weights = make_tensor_map(arguments.weights, arguments.out_channels,
                                            kTaps * arguments.in_channels, Tile::kChannels);
  const PoolGradient<T> pool_gradient{
      arguments.input, reinterpret_cast<const std::uint16_t*>(arguments.input_pool.winners),
      reinterpret_cast<const std::uint8_t*>(arguments.input_pool.open), arguments.in_channels};
  const Outputs<T> outputs{arguments.output,
                           arguments.mask,
                           arguments.gate,
                           arguments.bias,
                           arguments.output_pool.winners,
                           arguments.output_pool.open};
  const int shared_bytes = kWeights + geometry.stages * Tile::kStageBytes + kStrips * geometry.strip_bytes();
  launch("convolution_wgmma", wgmma_kernel<T, Tile, kPool>,
         {dim3(static_cast<unsigned>(std::min(geometry.tiles, multiprocessors()))),
          dim3(Threads<Tile, kPool>::kAll), static_cast<std::size_t>(shared_bytes)},
         stream, input, weights, pool_gradient, outputs, geometry);
}

template <class T, class Tile>
void launch_pool(const ConvolutionArguments<T>& arguments, cudaStream_t stream, bool staggered) {
  if (arguments.output_pool.winners != nullptr) {
    launch_tile<T, Tile, FusedPool::output>(arguments, stream, staggered);
  } else if (arguments.input_pool.winners != nullptr) {
    launch_tile<T, Tile, FusedPool::input>(arguments, stream, staggered);
  } else {
    launch_tile<T, Tile, FusedPool::none>(arguments, stream, staggered);
  }
}

template <class T>
void launch_two_warpgroups(const ConvolutionArguments<T>& arguments, cudaStream_t stream, bool staggered) {
  if (arguments.out_channels % Tile128::kChannels == 0) {
    launch_pool<T, Tile128>(arguments, stream, staggered);
  } else {
    launch_pool<T, Tile64>(arguments, stream, staggered);
  }
}

/// Whether the program has code of such a kernel for the current device. An empty one, as for sm_90 without
/// the a or from PTX for an older device, has next to no registers; and one with fewer than its warps hand
/// to each other would wait for them forever.
template <class Tile, FusedPool kPool>
bool has_code() {
#if defined(FILTERSCOPE_EMULATED)
  return true;
#else
  cudaFuncAttributes attributes{};
  const bool known = cudaFuncGetAttributes(&attributes, wgmma_kernel<Half, Tile, kPool>) == cudaSuccess;
  if (!known) cudaGetLastError();
  return known && attributes.binaryVersion == 90 && attributes.numRegs >= Threads<Tile, kPool>::kLaunched;
#endif
}

template <class Tile>
bool has_code(FusedPool pool) {
  switch (pool) {
    case FusedPool::output:
      return has_code<Tile, FusedPool::output>();
    case FusedPool::input:
      return has_code<Tile, FusedPool::input>();
    case FusedPool::none:
      break;
  }
  return has_code<Tile, FusedPool::none>();
}

/// Whether a kernel of such tiles computes it on the current device.
template <class Tile>
bool takes(const ConvolutionShape& shape) {
  if (shape.in_channels % kSliceChannels != 0 || shape.out_channels % Tile::kChannels != 0) return false;
  if (shape.pool != FusedPool::none && (shape.height % 2 != 0 || shape.width % 2 != 0)) return false;
  // A strip has more than two rows of the map; the geometry of much larger maps would take long to work out.
  if (kStrips * 2 * shape.width * kRowBytes > kSharedLimit) return false;
  return has_code<Tile>(shape.pool) && geometry_of<Tile>(1, shape).stages >= kFewestStages;
}

}  // namespace

bool convolution_wgmma_takes(const ConvolutionShape& shape) {
  return shape.out_channels % Tile128::kChannels == 0 ? takes<Tile128>(shape) : takes<Tile64>(shape);
}

bool convolution_wgmma_large_takes(const ConvolutionShape& shape) {
  return shape.out_channels % Tile128::kChannels != 0 && takes<LargeTile64>(shape);
}

template <class T>
void convolution_wgmma(const ConvolutionArguments<T>& arguments, cudaStream_t stream) {
  launch_two_warpgroups(arguments, stream, /*staggered=*/false);
}

template <class T>
void convolution_wgmma_staggered(const ConvolutionArguments<T>& arguments, cudaStream_t stream) {
  launch_two_warpgroups(arguments, stream, /*staggered=*/true);
}

template <class T>
void convolution_wgmma_large(const ConvolutionArguments<T>& arguments, cudaStream_t stream) {
  launch_pool<T, LargeTile64>(arguments, stream, /*staggered=*/true);
}

template void convolution_wgmma<Half>(const ConvolutionArguments<Half>&, cudaStream_t);
template void convolution_wgmma<Bfloat16>(const ConvolutionArguments<Bfloat16>&, cudaStream_t);
template void convolution_wgmma_staggered<Half>(const ConvolutionArguments<Half>&, cudaStream_t);
template void convolution_wgmma_staggered<Bfloat16>(const ConvolutionArguments<Bfloat16>&, cudaStream_t);
template void convolution_wgmma_large<Half>(const ConvolutionArguments<Half>&, cudaStream_t);
template void convolution_wgmma_large<Bfloat16>(const ConvolutionArguments<Bfloat16>&, cudaStream_t);

}  // namespace filterscope::kernels
