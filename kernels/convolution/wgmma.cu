// Convolution as a matrix product ("implicit GEMM") on Hopper's tensor cores: wgmma, fed by the copy engine.
// Rows are output positions, 2x2 windows of them, of all images one after the other; columns are output
// channels, and the sum runs over 9 taps x in_channels.
//
// The floor is that of convolution_implicit_gemm.cu: 18 C K FLOP per position against 2 (C + K) + K / 8 bytes
// of memory, arithmetic from 64 channels on. mma.sync, the product of one warp, gets at most two thirds of
// what an sm_90 can do; wgmma gets all of it if it is fed, and that is what this kernel is about:
// - L2 to shared memory. A block has 64 windows, 256 positions, x 128 channels. Per slice of 64 inputs
//   it loads the halo tile of positions that all nine taps need, once, and the weights of each tap: at 24x24
//   197 FLOP per byte, so 800 TFLOP/s ask 4.1 TB/s of L2. Where all weights of a layer fit (64 to 64
//   channels), a block keeps them for all its tiles, and the halo tiles alone are 280 FLOP per byte.
// - Shared memory to tensor cores, 128 bytes per clock and SM. Per 16 input channels a warpgroup multiplies
//   64 positions with 128 channels in 64 clocks, in which the weights are read once (4 KB) and the positions
//   (2 KB, by ldmatrix) two times out of three: with their windows' upper row in one product and the lower in
//   another, two rows of outputs take four rows of inputs for the three taps of a column, not six. That is
//   two thirds of what the memory gives; with 64 channels it is five sixths, which is the bound there.
// - Registers to memory. The sums go from registers to memory without a way through shared memory or other
//   lanes: the copies of the weights put the channels in an order in which a lane has 16 bytes of the result.
//   No barrier ties the warpgroups of a block together, and the copies for the next tile are under way.
// - Somebody always multiplies. One warpgroup can keep the tensor cores busy, but while it stores another one
//   has to: the fewer inputs, the more of the time. On an H200 512 inputs get 770 TFLOP/s, 256 get 740, 128
//   get 690, and 64 to 64 at 96x96 with a pool, 4600 clocks of products to a tile, 540. (Warpgroups that
//   begin up to 6144 clocks after each other, so that they do not store at the same time, changed nothing.)
//   Where sums are few enough for it there are three (convolution_wgmma_large); at 96x96 their 96 windows are
//   two whole rows, whose halo tile is no longer than that of 64, a third less of L2. 64 to 64 channels take
//   7 to 12 % less time with them; at most the bound above can be reached, 650 TFLOP/s.
// - Pools. Where a 2x2 max-pool follows, the epilogue takes it and writes a quarter of the map and 3 bits for
//   each of its elements; a pass of its own would write the map and read it again. Two lanes exchange half of
//   what they have of two windows, and that is all. Backward, halo tiles are not copied but made, by warps
//   of their own, from the gradient of the pool's output and the bits; again the map is neither
//   written nor read. At 96x96 and 64 channels that saves 4 x 1.2 MB of memory for each image and iteration,
//   1.3 us on an H200.
//
// Why positions come through registers: neighbours outside an image are not in the halo tile, which has those
// of the next row or image there. ldmatrix takes such a row from a line of zeros, row by row; a matrix that
// wgmma reads from shared memory by itself has no such exceptions, and padding maps with zeros would cost 8 %
// of the products at 24x24 and 15 % at 12x12.
//
// The parts are in wgmma/: tile.h (shapes, registers), tile_scheduler.h, producer.h (copied and made halo
// tiles), mainloop.h and epilogue.h.

#include <algorithm>

#include "../common/launch.h"
#include "../common/ring.h"
#include "../common/tensor_map.h"
#include "../ptx/registers.h"
#include "convolution.h"
#include "wgmma/epilogue.h"
#include "wgmma/mainloop.h"
#include "wgmma/producer.h"
#include "wgmma/tile_scheduler.h"

namespace filterscope::kernels {
namespace {

using namespace wgmma;

// Code for other architectures than sm_90a is empty, and never launched.
#if defined(FILTERSCOPE_EMULATED) || defined(__CUDA_ARCH_FEAT_SM90_ALL)
constexpr bool kHasWgmma = true;
#else
constexpr bool kHasWgmma = false;
#pragma nv_diag_suppress 177  // Nothing that the kernel would need is used then.
#endif

template <class T, class Tile, FusedPool kPool>
__global__ void __launch_bounds__(Threads<Tile, kPool>::kAll, 1)
    wgmma_kernel([[maybe_unused]] const __grid_constant__ TensorMap input,
                 [[maybe_unused]] const __grid_constant__ TensorMap weights,
                 [[maybe_unused]] PoolGradient<T> pool_gradient, [[maybe_unused]] Epilogue<T> epilogue,
                 [[maybe_unused]] Params params) {
  if constexpr (kHasWgmma) {
    FILTERSCOPE_DYNAMIC_SHARED(unsigned char, memory);
    Ring halo_tiles(memory, kHaloBarriers, kHaloTiles);
    Ring stages(memory, kStageBarriers, params.stages);
    if (threadIdx.x == 0) {
      halo_tiles.init(kPool == FusedPool::input ? Tile::kHaloProducerWarps : 1, Tile::kConsumerWarps);
      stages.init(1, Tile::kConsumerWarps);
      ptx::mbarrier_init_fence();
    }
    if (threadIdx.x < kLineBytes) memory[kZeros + threadIdx.x] = 0;
    __syncthreads();

    const Lane lane;
    if (lane.warp >= Tile::kConsumerWarps) {
      ptx::warpgroup_reg_dealloc<Threads<Tile, kPool>::kProducerRegisters>();
      if (lane.warp == Tile::kTmaWarp) {
        if (lane.lane == 0) load_by_tma<Tile, kPool>(memory, params, input, weights, halo_tiles, stages);
      } else if constexpr (kPool == FusedPool::input) {
        make_halo_tiles<T, Tile>(memory, params, pool_gradient, halo_tiles);
      }
      return;
    }
    ptx::warpgroup_reg_alloc<Threads<Tile, kPool>::kConsumerRegisters>();
    FragmentLoader<kPool> loader(lane);
    for (TileScheduler<Tile> scheduler; scheduler.more(params); scheduler.advance()) {
      const int first_window = scheduler.first_window(params);
      const int first_channel = scheduler.first_channel(params);
      loader.begin_tile(params, lane, first_window);
      Accumulators<Tile> accumulators;
      mainloop<T, Tile>(accumulators, memory, params, lane, loader, halo_tiles, stages,
                        params.resident_weights && !scheduler.first());
      if constexpr (kPool == FusedPool::output) {
        store_pooled_tile<T, Tile>(epilogue, accumulators, params, lane, first_window, first_channel);
      } else {
        store_tile<T, Tile, kPool == FusedPool::input>(epilogue, accumulators, params, lane, first_window,
                                                       first_channel);
      }
    }
  }
}

// ---- launch

using Tile128 = TileShape<128, 2>;
using Tile64 = TileShape<64, 2>;
using LargeTile64 = TileShape<64, 3>;

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
void launch_tile(const ConvolutionArguments<T>& arguments, cudaStream_t stream) {
  const Params params = make_params<Tile>(arguments.images_count, {.height = arguments.height,
                                                                   .width = arguments.width,
                                                                   .in_channels = arguments.in_channels,
                                                                   .out_channels = arguments.out_channels,
                                                                   .pool = kPool});
  if (params.tiles == 0) return;
  if (params.stages < kFewestStages) throw LaunchError("convolution_wgmma: a map too wide for shared memory");
  const int input_rows = kPool == FusedPool::input
                             ? params.windows_count
                             : arguments.images_count * arguments.height * arguments.width;
  const TensorMap input =
      make_tensor_map(arguments.input, input_rows, arguments.in_channels, params.box_rows);
  const TensorMap weights = make_pairs_tensor_map(
      arguments.weights, arguments.out_channels, kTaps * arguments.in_channels, Tile::kChannels / kGroupRows);
  const PoolGradient<T> pool_gradient{
      arguments.input, reinterpret_cast<const std::uint16_t*>(arguments.input_pool.argmax),
      reinterpret_cast<const std::uint8_t*>(arguments.input_pool.active), arguments.in_channels};
  const Epilogue<T> epilogue{arguments.output,
                             arguments.mask_out,
                             arguments.mask_in,
                             arguments.bias,
                             reinterpret_cast<std::uint16_t*>(arguments.output_pool.argmax),
                             reinterpret_cast<std::uint8_t*>(arguments.output_pool.active)};
  const int shared_bytes = kWeights + params.stages * Tile::kStageBytes + kHaloTiles * params.halo_bytes();
  launch("convolution_wgmma", wgmma_kernel<T, Tile, kPool>,
         {dim3(static_cast<unsigned>(std::min(params.tiles, multiprocessors()))),
          dim3(Threads<Tile, kPool>::kAll), static_cast<std::size_t>(shared_bytes)},
         stream, input, weights, pool_gradient, epilogue, params);
}

template <class T, class Tile>
void launch_pool(const ConvolutionArguments<T>& arguments, cudaStream_t stream) {
  if (arguments.output_pool.argmax != nullptr) {
    launch_tile<T, Tile, FusedPool::output>(arguments, stream);
  } else if (arguments.input_pool.argmax != nullptr) {
    launch_tile<T, Tile, FusedPool::input>(arguments, stream);
  } else {
    launch_tile<T, Tile, FusedPool::none>(arguments, stream);
  }
}

template <class T>
void launch_two_warpgroups(const ConvolutionArguments<T>& arguments, cudaStream_t stream) {
  if (arguments.out_channels % Tile128::kChannels == 0) {
    launch_pool<T, Tile128>(arguments, stream);
  } else {
    launch_pool<T, Tile64>(arguments, stream);
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
  // A halo tile has more than two rows of the map; the geometry of much larger maps would take long to work
  // out.
  if (kHaloTiles * 2 * shape.width * kRowBytes > kSharedLimit) return false;
  return has_code<Tile>(shape.pool) && make_params<Tile>(1, shape).stages >= kFewestStages;
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
  launch_two_warpgroups(arguments, stream);
}

template <class T>
void convolution_wgmma_large(const ConvolutionArguments<T>& arguments, cudaStream_t stream) {
  launch_pool<T, LargeTile64>(arguments, stream);
}

template void convolution_wgmma<Half>(const ConvolutionArguments<Half>&, cudaStream_t);
template void convolution_wgmma<Bfloat16>(const ConvolutionArguments<Bfloat16>&, cudaStream_t);
template void convolution_wgmma_large<Half>(const ConvolutionArguments<Half>&, cudaStream_t);
template void convolution_wgmma_large<Bfloat16>(const ConvolutionArguments<Bfloat16>&, cudaStream_t);

}  // namespace filterscope::kernels
