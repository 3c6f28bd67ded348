// Convolution as a matrix product ("implicit GEMM") on Hopper's tensor cores: wgmma, fed by TMA. Its rows are
// the output positions of all images, ordered by 2x2 windows, its columns the output channels, and its sum
// runs over 9 taps x in_channels.
//
// Floor: as in implicit_gemm.cu, 18 C K FLOP per position against 2 (C + K) + K / 8 bytes of memory, so the
// kernel is bound by arithmetic from 64 channels on. mma.sync, the product of one warp, reaches at most two
// thirds of an sm_90's rate; wgmma reaches all of it if it is fed, and this kernel is about feeding it:
// - L2 to shared memory. A tile has 64 windows (256 positions) x 128 channels. Per slice of 64 input channels
//   a block loads one halo tile, the positions that all nine taps need, and the weights of each tap: 197 FLOP
//   per byte at 24x24, so that 800 TFLOP/s need 4.1 TB/s from L2. Where all weights of a layer fit (64 to 64
//   channels), they stay resident for all tiles of a block, and the halo tiles alone come to 280 FLOP per
//   byte.
// - Shared memory to tensor cores, at 128 bytes per clock and SM. Per 16 input channels a warpgroup
//   multiplies 64 positions by 128 channels in 64 clocks. In that time the weights (4 KB) are read once and
//   the positions (2 KB, by ldmatrix) two times out of three: the upper row of the windows is one product and
//   the lower another, so for the three taps of a column two rows of outputs read four rows of inputs rather
//   than six. This takes two thirds of the bandwidth of shared memory; with 64 channels it takes five sixths,
//   which is the bound there.
// - Registers to memory. The accumulators go to memory directly, not through shared memory or other lanes:
//   the copies of the weights order the channels such that each lane ends up with 16 consecutive bytes of the
//   result. No barrier ties the warpgroups of a block together, and the copies for the next tile proceed
//   meanwhile.
// - Overlap of products and stores. One warpgroup can keep the tensor cores busy, but while it stores,
//   another must multiply; the fewer the input channels, the larger the share of stores. An H200 reaches 770
//   TFLOP/s with 512 input channels, 740 with 256, 690 with 128, and 540 with 64 to 64 channels at 96x96 with
//   a pool, where the products of a tile take 4600 clocks. (Starting the warpgroups up to 6144 clocks apart,
//   so that they do not store at the same time, changed nothing.) Where the accumulators are few enough there
//   are three warpgroups (convolution_wgmma_large); at 96x96 their 96 windows are two whole rows, whose halo
//   tile is no longer than that of 64 windows: a third less traffic from L2. 64 to 64 channels take 7 to 12 %
//   less time with them; the bound above allows at most 650 TFLOP/s.
// - Pools. Where a 2x2 max-pool follows, the epilogue computes it and writes a quarter of the map and 3 bits
//   for each element of that quarter; a separate pass would write the map and read it again. It only takes an
//   exchange between pairs of lanes, each of which holds half of two windows. In dgrad, dedicated producer
//   warps do not copy the halo tiles but compute them from the gradient of the pool's output and the bits;
//   again the map is neither written nor read. At 96x96 and 64 channels this saves 4 x 1.2 MB of memory
//   traffic per image and iteration, 1.3 us on an H200.
//
// Positions come through registers because of the borders: where a tap leaves the image, the halo tile holds
// a position of the next row or image instead of zeros. ldmatrix can read any row from a line of zeros
// instead; a matrix that wgmma reads from shared memory allows no such exceptions, and padding the maps with
// zeros would cost 8 % of the products at 24x24 and 15 % at 12x12.
//
// The parts are in wgmma/: tile.h (shapes, registers), tile_scheduler.h, producer.h (loads; halo tiles
// through a pool), mainloop.h and epilogue.h.

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

// The code for architectures other than sm_90a is empty and never launched.
#if defined(FILTERSCOPE_EMULATED) || defined(__CUDA_ARCH_FEAT_SM90_ALL)
constexpr bool kHasWgmma = true;
#else
constexpr bool kHasWgmma = false;
#pragma nv_diag_suppress 177  // The empty kernel uses none of its functions.
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
        unpool_halo_tiles<T, Tile>(memory, params, pool_gradient, halo_tiles);
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

int multiprocessor_count() {
#if defined(FILTERSCOPE_EMULATED)
  return 2;
#else
  int device = 0;
  int count = 0;
  if (cudaGetDevice(&device) != cudaSuccess ||
      cudaDeviceGetAttribute(&count, cudaDevAttrMultiProcessorCount, device) != cudaSuccess) {
    throw LaunchError("convolution_wgmma: cannot query the device's number of multiprocessors");
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
  if (params.stages < kMinStages)
    throw LaunchError("convolution_wgmma: the map is too wide for shared memory");
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
         {dim3(static_cast<unsigned>(std::min(params.tiles, multiprocessor_count()))),
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

/// Whether the program contains such a kernel's code for the current device. An empty kernel, as for plain
/// sm_90 or from PTX of an older architecture, has next to no registers; and one with fewer registers than
/// its warps reallocate would wait for them forever.
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

/// Whether the kernel with this tile computes the shape on the current device.
template <class Tile>
bool takes(const ConvolutionShape& shape) {
  if (shape.in_channels % kSliceChannels != 0 || shape.out_channels % Tile::kChannels != 0) return false;
  if (shape.pool != FusedPool::none && (shape.height % 2 != 0 || shape.width % 2 != 0)) return false;
  // A halo tile holds more than two rows of the map. Checked first, since make_params() would take long for
  // much larger maps.
  if (kHaloTiles * 2 * shape.width * kRowBytes > kMaxSharedBytes) return false;
  return has_code<Tile>(shape.pool) && make_params<Tile>(1, shape).stages >= kMinStages;
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
