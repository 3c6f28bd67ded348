// Convolution as a matrix product ("implicit GEMM") on Hopper's tensor cores: wgmma, fed by the copy engine.
// Rows are output positions, of all images one after the other, columns output channels, and the sum runs
// over 9 taps x in_channels.
//
// The floor is that of convolution_implicit_gemm.cu: 18 C K FLOP per position against 2 (C + K) + K / 8 bytes
// of memory, arithmetic from 64 channels on. mma.sync, the product of one warp, gets at most two thirds of
// what an sm_90 can do; wgmma gets all of it if it is fed, and that is what this kernel is about:
// - L2 to shared memory. A block has 256 positions x 128 channels. Per slice of 64 input channels it loads
//   the strip of positions that all nine taps need, once, and the weights of each tap: at 24x24 197 FLOP per
//   byte, so 800 TFLOP/s ask 4.1 TB/s of L2. Where all weights of a layer fit (64 to 64 channels), a block
//   keeps them for all its tiles, and the strips alone are 330 FLOP per byte.
// - Shared memory to tensor cores, 128 bytes per clock and SM. Per 16 input channels a warpgroup multiplies
// 64
//   positions with 128 channels in 64 clocks, in which the weights are read once (4 KB) and the positions
//   once (2 KB, by ldmatrix): three quarters of what the memory gives. With 64 channels it is all of it,
//   which is the bound there.
// - Registers to memory. The sums go from registers to memory without a way through shared memory; the lanes
//   of a quad exchange words so that each stores 16 bytes. No barrier ties the two warpgroups of a block
//   together, so one multiplies on while the other stores, and the copies for the next tile are under way.
//
// Why positions come through registers: neighbours outside an image are not in the strip, which has those of
// the next row or image there. ldmatrix takes such a row from a line of zeros, row by row; a matrix that
// wgmma reads from shared memory by itself has no such exceptions, and padding maps with zeros would cost 8 %
// of the products at 24x24 and 15 % at 12x12.

#include <algorithm>

#include "common/chunk.h"
#include "common/global.h"
#include "common/launch.h"
#include "common/reduce.h"
#include "common/taps.h"
#include "common/tensor_map.h"
#include "convolution.h"
#include "ptx/convert.h"
#include "ptx/ldmatrix.h"
#include "ptx/mbarrier.h"
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
constexpr int kProductPositions = 64;  // Shape of ptx::wgmma_m64k16.
constexpr int kProductDepth = 16;
constexpr int kWarpPositions = kProductPositions / kWarpgroupWarps;
constexpr int kQuadLanes = 4;

// A warpgroup multiplies kProducts x 64 positions. The products of a tap are started in kHalves groups: while
// one is multiplied, the positions of the next one are read to other registers.
constexpr int kProducts = 2;
constexpr int kWarpgroupPositions = kProducts * kProductPositions;
constexpr int kHalves = 2;
constexpr int kSteps = kSliceChannels / kProductDepth / kHalves;

constexpr int kStrips = 2;
constexpr int kFewestStages = 3;
constexpr int kMostStages = 16;
constexpr int kSharedLimit = 227 * 1024;  // Of a block on sm_90.
constexpr int kMostBoxRows = 256;

// Of a thread: a launch gives each 168, and a thread that multiplies needs more than one that copies.
constexpr int kMultiplyingRegisters = 240;
constexpr int kCopyingRegisters = 24;

/// A block's part of the product. Two warpgroups multiply; of a third one a thread starts the copies.
template <int kChannels_>
struct Tile {
  static constexpr int kWarpgroups = 2;
  static constexpr int kPositions = kWarpgroups * kWarpgroupPositions;  ///< Output positions of a block.
  static constexpr int kChannels = kChannels_;                          ///< Output channels of a block.
  static constexpr int kMultiplyingWarps = kWarpgroups * kWarpgroupWarps;
  static constexpr int kThreads = (kMultiplyingWarps + kWarpgroupWarps) * kWarpSize;
  static constexpr int kSums = kChannels / 2;  ///< Of a thread, per product.
  static constexpr int kStageBytes = kChannels * kRowBytes;
  static constexpr int kWords = kChannels / 32;  ///< Of a mask.

  static_assert(kWords <= kQuadLanes, "each lane of a quad has a word of the gate and of the mask");
};

/// What the host works out once per launch.
struct Geometry {
  int height;
  int width;
  int out_channels;
  int positions;  ///< images * height * width
  int slices;     ///< Of the input channels.
  int channel_tiles;
  int tiles;
  int boxes;  ///< Of a strip.
  int box_rows;
  int stages;     ///< Tiles of weights that shared memory has room for.
  bool resident;  ///< It has room for all there are.

  __host__ __device__ constexpr int strip_bytes() const { return boxes * box_rows * kRowBytes; }
};

// Dynamic shared memory in bytes: a line of zeros, the mbarriers, the stages of weights, two strips.
constexpr int kZeros = 0;
constexpr int kBarriers = kZeros + kLineBytes;
constexpr int kBarrierBytes = sizeof(ptx::MBarrier);
constexpr int kWeights = kSwizzleBytes;
static_assert(kBarriers + 2 * (kStrips + kMostStages) * kBarrierBytes <= kWeights);

/// Buffers that go round between the thread that fills them and the warps that read them. Each has two
/// mbarriers, for full and for empty.
template <class Memory>
class Ring {
 public:
  __device__ Ring(const Memory& memory, int first_barrier, int size)
      : memory_(memory), barriers_(kBarriers + first_barrier * kBarrierBytes), size_(size) {}

  /// By one thread, before anything else.
  __device__ void init(int readers) const {
    for (int i = 0; i < size_; ++i) {
      ptx::mbarrier_init(full(i), 1);
      ptx::mbarrier_init(empty(i), readers);
    }
  }

  /// The buffer in turn.
  __device__ int index() const { return index_; }
  __device__ void advance() {
    if (++index_ == size_) {
      index_ = 0;
      parity_ ^= 1;
    }
  }

  __device__ void wait_empty() const { ptx::mbarrier_wait(empty(index_), parity_ ^ 1); }
  /// Announces what will be copied; the copies arrive on what this returns.
  __device__ void* expect(int bytes) const {
    void* const barrier = full(index_);
    ptx::mbarrier_arrive_expecting(barrier, bytes);
    return barrier;
  }
  __device__ void wait_full() const { ptx::mbarrier_wait(full(index_), parity_); }
  /// By one lane of each warp that reads, when it has read that buffer.
  __device__ void release(int index) const { ptx::mbarrier_arrive(empty(index)); }

 private:
  __device__ void* full(int i) const { return memory_ + (barriers_ + 2 * i * kBarrierBytes); }
  __device__ void* empty(int i) const { return memory_ + (barriers_ + (2 * i + 1) * kBarrierBytes); }

  Memory memory_;
  int barriers_;
  int size_;
  int index_ = 0;
  int parity_ = 0;
};

/// The tiles of a block, one after the other. Blocks at the same time have the same positions, if the
/// channels need several tiles, so that they find their input in L2.
template <class Tile>
struct TileWalk {
  int tile = static_cast<int>(blockIdx.x);

  __device__ bool more(const Geometry& geometry) const { return tile < geometry.tiles; }
  __device__ void advance() { tile += static_cast<int>(gridDim.x); }
  __device__ bool first() const { return tile == static_cast<int>(blockIdx.x); }
  __device__ int first_position(const Geometry& geometry) const {
    return tile / geometry.channel_tiles * Tile::kPositions;
  }
  __device__ int first_channel(const Geometry& geometry) const {
    return tile % geometry.channel_tiles * Tile::kChannels;
  }
};

// ---- copying

/// What one thread does: it starts all copies of the block, as soon as there is room for them.
template <class Tile, class Memory>
__device__ inline void copy_all(const Memory& memory, const Geometry& geometry, const TensorMap& input,
                                const TensorMap& weights, Ring<Memory>& strips, Ring<Memory>& stages) {
  const int first_strip = kWeights + geometry.stages * Tile::kStageBytes;
  const int box_bytes = geometry.box_rows * kRowBytes;
  ptx::tma_prefetch(input);
  ptx::tma_prefetch(weights);
  for (TileWalk<Tile> walk; walk.more(geometry); walk.advance()) {
    const int first_row = walk.first_position(geometry) - geometry.width - 1;
    for (int slice = 0; slice < geometry.slices; ++slice) {
      strips.wait_empty();
      void* const strip_full = strips.expect(geometry.strip_bytes());
      const int strip = first_strip + strips.index() * geometry.strip_bytes();
      for (int box = 0; box < geometry.boxes; ++box) {
        ptx::tma_load(memory + (strip + box * box_bytes), input, first_row + box * geometry.box_rows,
                      slice * kSliceChannels, strip_full);
      }
      strips.advance();
      if (geometry.resident && !walk.first()) continue;
      for (int tap = 0; tap < kTaps; ++tap) {
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

// ---- the product

/// Which thread of the block has what.
struct Lane {
  int lane = static_cast<int>(threadIdx.x % kWarpSize);
  int warp = static_cast<int>(threadIdx.x / kWarpSize);
  /// Of the tile: where the warp's part of the first product begins.
  int first_position = warp / kWarpgroupWarps * kWarpgroupPositions + warp % kWarpgroupWarps * kWarpPositions;
  int quad = lane / kQuadLanes;
  int in_quad = lane % kQuadLanes;
};

/// Of a thread, as ptx::wgmma_m64k16 has them.
template <class Tile>
using Sums = float[kProducts][Tile::kSums];
using Fragments = std::uint32_t[kProducts][kSteps][4];

/// Reads the warp's positions, shifted by a tap. Where a tap leaves the image, lanes read zeros instead of
/// the strip.
class FragmentLoader {
 public:
  __device__ explicit FragmentLoader(const Lane& lane)
      : row_(lane.first_position + lane.lane % 16), chunk_(lane.lane / 16 * kChunkBytes) {}

  __device__ void begin_tile(const Geometry& geometry, int first_position) {
#pragma unroll
    for (int i = 0; i < kProducts; ++i) {
      inside_[i] =
          taps_inside(first_position + row_ + i * kProductPositions, geometry.height, geometry.width);
    }
  }

  /// Chooses a tap, whose rows are `shift` rows on in the strip that begins at byte `strip`.
  __device__ void choose(int strip, int shift, int tap) {
    const int row = row_ + shift;
    const int at = strip + row * kRowBytes + (chunk_ ^ (row & (kSwizzleRows - 1)) * kChunkBytes);
#pragma unroll
    for (int i = 0; i < kProducts; ++i) {
      static_assert(kProductPositions % kSwizzleRows == 0, "rows of all products are swizzled alike");
      at_[i] = (inside_[i] >> tap & 1u) != 0 ? at + i * kProductPositions * kRowBytes
                                             : kZeros + (at & (kLineBytes - 1));  // The same banks.
    }
  }

  template <class Memory>
  __device__ void load(Fragments& fragments, const Memory& memory, int half) const {
#pragma unroll
    for (int i = 0; i < kProducts; ++i) {
#pragma unroll
      for (int step = 0; step < kSteps; ++step) {
        const int flip = (half * kSteps + step) * kProductDepth * kElementBytes;
        ptx::ldmatrix_x4(fragments[i][step], memory + (at_[i] ^ flip));
      }
    }
  }

 private:
  int row_;                     // Of the strip, without a shift.
  int chunk_;                   // Byte in the row.
  unsigned inside_[kProducts];  // Bit 3 r + s: whether tap (r, s) stays in the image.
  int at_[kProducts];           // Bytes of the tap's rows, swizzled.
};

/// Adds the whole product of a tile to the sums.
template <class T, class Tile, class Memory>
__device__ inline void multiply_tile(Sums<Tile>& sums, const Memory& memory, const Geometry& geometry,
                                     const Lane& lane, FragmentLoader& loader, Ring<Memory>& strips,
                                     Ring<Memory>& stages, bool weights_are_there) {
  const int first_strip = kWeights + geometry.stages * Tile::kStageBytes;
  const std::uint64_t descriptor = ptx::wgmma_descriptor(memory + kWeights);
  const bool releases = lane.lane == 0;
  Fragments fragments[kHalves];
  int read = -1;  // The stage that the group before reads from.
  for (int slice = 0; slice < geometry.slices; ++slice) {
    strips.wait_full();
    const int strip = first_strip + strips.index() * geometry.strip_bytes();
    int shift = 0;
    int in_row = 0;
#pragma unroll 1
    for (int tap = 0; tap < kTaps; ++tap) {
      loader.choose(strip, shift + in_row, tap);
      if (++in_row == kKernelSize) {
        in_row = 0;
        shift += geometry.width;
      }
      const int stage = stages.index();
      const std::uint64_t tap_descriptor =
          descriptor + static_cast<std::uint64_t>(stage * (Tile::kStageBytes >> 4));
#pragma unroll
      for (int half = 0; half < kHalves; ++half) {
        loader.load(fragments[half], memory, half);
        if (half == 0 && !weights_are_there) stages.wait_full();
        ptx::wgmma_fence();
#pragma unroll
        for (int step = 0; step < kSteps; ++step) {
#pragma unroll
          for (int i = 0; i < kProducts; ++i) {
            ptx::wgmma_m64k16<T>(sums[i], fragments[half][i][step],
                                 tap_descriptor + (half * kSteps + step) * ptx::kDescriptorStep,
                                 slice > 0 || tap > 0 || half > 0 || step > 0);
          }
        }
        ptx::wgmma_commit();
        ptx::wgmma_wait<1>();
        if (half == 0 && read >= 0 && releases) stages.release(read);
      }
      read = geometry.resident ? -1 : stage;
      stages.advance();
    }
    if (releases) strips.release(strips.index());
    strips.advance();
  }
  ptx::wgmma_wait<0>();
  if (read >= 0 && releases) stages.release(read);
#pragma unroll
  for (int i = 0; i < kProducts; ++i) ptx::wgmma_done(sums[i]);
}

// ---- epilogue

template <class T>
struct Outputs {
  Global<T> output;
  Global<std::uint32_t> mask;
  Global<const std::uint32_t> gate;
  Global<const float> bias;  ///< And ReLU.
};

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

template <class T, class Tile>
__device__ inline void store_tile(const Outputs<T>& outputs, const Sums<Tile>& sums, const Geometry& geometry,
                                  const Lane& lane, int first_position, int first_channel) {
  constexpr int kRows = 2 * kProducts;  // Of a lane.
  const int words = geometry.out_channels / 32;
  const int shift = lane.in_quad * kChunkElements;  // Of the lane's bits in a word.
  const auto position_of = [&](int row) {
    return first_position + lane.first_position + row / 2 * kProductPositions +
           row % 2 * (kWarpPositions / 2) + lane.quad;
  };
  const auto word_of = [&](int position) {
    return static_cast<std::int64_t>(position) * words + (first_channel / 32 + lane.in_quad);
  };
  const bool has_word = lane.in_quad < Tile::kWords;
  std::uint32_t gates[kRows];
#pragma unroll
  for (int row = 0; row < kRows; ++row) {
    const int position = position_of(row);
    const bool wanted = outputs.gate && has_word && position < geometry.positions;
    gates[row] = wanted ? outputs.gate.load(word_of(position)) : 0;
  }
  std::uint32_t masks[kRows] = {};
#pragma unroll
  for (int word = 0; word < Tile::kWords; ++word) {
    constexpr int kColumns = 8;  // That a quad has together.
    Vector<float, 2> bias[kQuadLanes] = {};
#pragma unroll
    for (int i = 0; i < kQuadLanes; ++i) {
      const int channel = first_channel + word * 32 + i * kColumns + lane.in_quad * 2;
      if (outputs.bias) bias[i] = outputs.bias.template load_vector<2>(channel);
    }
#pragma unroll
    for (int row = 0; row < kRows; ++row) {
      std::uint32_t pairs[kQuadLanes];
#pragma unroll
      for (int i = 0; i < kQuadLanes; ++i) {
        const int sum = (word * kQuadLanes + i) * 4 + row % 2 * 2;
        const float first = sums[row / 2][sum] + bias[i][0];
        const float second = sums[row / 2][sum + 1] + bias[i][1];
        pairs[i] = outputs.bias ? ptx::relu_pair<T>(first, second)
                                : __builtin_bit_cast(std::uint32_t, Vector<T, 2>{from_float<T>(first),
                                                                                 from_float<T>(second)});
      }
      transpose_quad(pairs, lane.in_quad);
      Chunk chunk{pairs[0], pairs[1], pairs[2], pairs[3]};
      if (outputs.gate) {
        const std::uint32_t gate =
            __shfl_sync(kFullWarp, gates[row], lane.lane / kQuadLanes * kQuadLanes + word);
        apply_gate(chunk, gate >> shift & 0xffu);
      }
      const int position = position_of(row);
      if (position < geometry.positions) {
        const std::int64_t first =
            static_cast<std::int64_t>(position) * geometry.out_channels + first_channel;
        outputs.output.template store_vector<kChunkElements>(
            first + word * 32 + lane.in_quad * kChunkElements,
            __builtin_bit_cast(Vector<T, kChunkElements>, chunk));
      }
      if (outputs.mask) {
        const std::uint32_t bits = join_bits<kQuadLanes>(above_zero(chunk) << shift);
        if (lane.in_quad == word) masks[row] = bits;
      }
    }
  }
  if (outputs.mask && has_word) {
#pragma unroll
    for (int row = 0; row < kRows; ++row) {
      const int position = position_of(row);
      if (position < geometry.positions) outputs.mask.store(word_of(position), masks[row]);
    }
  }
}

// ---- the kernel

template <class T, class Tile>
__global__ void __launch_bounds__(Tile::kThreads, 1)
    wgmma_kernel([[maybe_unused]] const __grid_constant__ TensorMap input,
                 [[maybe_unused]] const __grid_constant__ TensorMap weights,
                 [[maybe_unused]] Outputs<T> outputs, [[maybe_unused]] Geometry geometry) {
  if constexpr (kHasWgmma) {
    FILTERSCOPE_DYNAMIC_SHARED(unsigned char, memory);
    Ring strips(memory, 0, kStrips);
    Ring stages(memory, 2 * kStrips, geometry.stages);
    if (threadIdx.x == 0) {
      strips.init(Tile::kMultiplyingWarps);
      stages.init(Tile::kMultiplyingWarps);
      ptx::mbarrier_init_fence();
    }
    if (threadIdx.x < kLineBytes) memory[kZeros + threadIdx.x] = 0;
    __syncthreads();

    const Lane lane;
    if (lane.warp >= Tile::kMultiplyingWarps) {
      ptx::give_registers<kCopyingRegisters>();
      if (threadIdx.x == Tile::kMultiplyingWarps * kWarpSize)
        copy_all<Tile>(memory, geometry, input, weights, strips, stages);
      return;
    }
    ptx::take_registers<kMultiplyingRegisters>();
    FragmentLoader loader(lane);
    for (TileWalk<Tile> walk; walk.more(geometry); walk.advance()) {
      const int first_position = walk.first_position(geometry);
      const int first_channel = walk.first_channel(geometry);
      loader.begin_tile(geometry, first_position);
      Sums<Tile> sums;
      multiply_tile<T, Tile>(sums, memory, geometry, lane, loader, strips, stages,
                             geometry.resident && !walk.first());
      store_tile<T, Tile>(outputs, sums, geometry, lane, first_position, first_channel);
    }
  }
}

// ---- launch

template <class Tile>
constexpr Geometry geometry_of(int images, int height, int width, int in_channels, int out_channels) {
  Geometry geometry{.height = height,
                    .width = width,
                    .out_channels = out_channels,
                    .positions = images * height * width,
                    .slices = in_channels / kSliceChannels,
                    .channel_tiles = out_channels / Tile::kChannels,
                    .tiles = 0,
                    .boxes = 0,
                    .box_rows = 0,
                    .stages = 0,
                    .resident = false};
  geometry.tiles = divide_up(geometry.positions, Tile::kPositions) * geometry.channel_tiles;
  const int strip_rows = Tile::kPositions + (kKernelSize - 1) * (width + 1);
  geometry.boxes = divide_up(strip_rows, kMostBoxRows);
  geometry.box_rows = divide_up(divide_up(strip_rows, geometry.boxes), kSwizzleRows) * kSwizzleRows;
  const int left = kSharedLimit - kWeights - kStrips * geometry.strip_bytes();
  const int weight_tiles = kTaps * geometry.slices;
  geometry.stages = std::clamp(left / Tile::kStageBytes, 0, std::min(kMostStages, weight_tiles));
  geometry.resident = geometry.channel_tiles == 1 && geometry.stages == weight_tiles;
  return geometry;
}

using Tile128 = Tile<128>;
using Tile64 = Tile<64>;

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

template <class T, class Tile>
void launch_tile(const ConvolutionArguments<T>& arguments, cudaStream_t stream) {
  const Geometry geometry = geometry_of<Tile>(arguments.images_count, arguments.height, arguments.width,
                                              arguments.in_channels, arguments.out_channels);
  if (geometry.tiles == 0) return;
  const TensorMap input =
      make_tensor_map(arguments.input, geometry.positions, arguments.in_channels, geometry.box_rows);
  const TensorMap weights = make_tensor_map(arguments.weights, arguments.out_channels,
                                            kTaps * arguments.in_channels, Tile::kChannels);
  const Outputs<T> outputs{arguments.output, arguments.mask, arguments.gate, arguments.bias};
  const int shared_bytes = kWeights + geometry.stages * Tile::kStageBytes + kStrips * geometry.strip_bytes();
  launch("convolution_wgmma", wgmma_kernel<T, Tile>,
         {dim3(static_cast<unsigned>(std::min(geometry.tiles, multiprocessors()))), dim3(Tile::kThreads),
          static_cast<std::size_t>(shared_bytes)},
         stream, input, weights, outputs, geometry);
}

/// Whether the program has code of this kernel for the current device.
bool has_code() {
#if defined(FILTERSCOPE_EMULATED)
  return true;
#else
  // An empty kernel, as for sm_90 without the a or from PTX for an older device, has next to no registers.
  constexpr int kFewestRegisters = 128;
  cudaFuncAttributes attributes{};
  const bool known = cudaFuncGetAttributes(&attributes, wgmma_kernel<Half, Tile128>) == cudaSuccess;
  if (!known) cudaGetLastError();
  return known && attributes.binaryVersion == 90 && attributes.numRegs >= kFewestRegisters;
#endif
}

}  // namespace

bool convolution_wgmma_takes(int width, int in_channels, int out_channels) {
  if (in_channels % kSliceChannels != 0 || out_channels % Tile64::kChannels != 0) return false;
  const auto fits = [&]<class Tile>(Tile) {
    return geometry_of<Tile>(1, 1, width, in_channels, out_channels).stages >= kFewestStages;
  };
  return (out_channels % Tile128::kChannels == 0 ? fits(Tile128{}) : fits(Tile64{})) && has_code();
}

template <class T>
void convolution_wgmma(const ConvolutionArguments<T>& arguments, cudaStream_t stream) {
  if (arguments.out_channels % Tile128::kChannels == 0) {
    launch_tile<T, Tile128>(arguments, stream);
  } else {
    launch_tile<T, Tile64>(arguments, stream);
  }
}

template void convolution_wgmma<Half>(const ConvolutionArguments<Half>&, cudaStream_t);
template void convolution_wgmma<Bfloat16>(const ConvolutionArguments<Bfloat16>&, cudaStream_t);

}  // namespace filterscope::kernels
