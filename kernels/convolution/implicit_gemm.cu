// Convolution as a matrix product ("implicit GEMM") with mma.sync. Its rows are the output positions of all
// images, its columns the output channels, and its sum runs over 9 taps x in_channels. The operand with the
// input's patches exists only as addresses; it is never written to memory.
//
// Floor: a layer from C to K channels takes 18 C K FLOP per position and at least 2 (C + K) + K / 8 bytes of
// memory traffic (16-bit elements and the mask). That is 279 FLOP per byte at VGG16's block1_conv2 (64 to
// 64), 558 at block2_conv2, 1100 and more from block3_conv2 on. An A100 is bound by arithmetic from about 160
// FLOP per byte, an H200 from 210, an L40S from 420 (there the 64-channel layers are bound by memory). The
// aim is therefore to keep the tensor cores busy, and two paths of the operands can starve them:
// - L2 to shared memory. If every tap loaded its input, a tile of 128 positions x 128 channels would compute
//   64 FLOP per byte and, at full speed, need 4.9 TB/s from an A100's L2. But taps only shift positions: per
//   slice of 32 input channels this kernel loads one halo tile, the positions that all nine taps need, and
//   each tap reads it from a different row on. At 24x24 that is 111 FLOP per byte, 2.8 TB/s.
// - Shared memory to registers, at 128 bytes per clock and SM. In a step of 16 input channels, each of the
//   four warps of a block reads 64 positions and 64 channels for 65536 multiply-adds. That takes 128 clocks
//   per block, plus 37 for writing weights and halo tile, against 256 clocks of tensor cores on sm_80 and 512
//   on sm_89. On sm_90 the tensor cores would need only 128 clocks, so shared memory limits them to 78 %; but
//   mma.sync does not exceed two thirds of their rate there anyway (W. Luo et al., arXiv 2402.13499), only
//   wgmma does.
//
// Where a tap leaves the image, the halo tile holds a position of the next row or image instead of zeros.
// Which taps leave the image is computed per position before the loop; for those, ldmatrix reads its row from
// a line of zeros. The loop has no division and no other boundary condition.
//
// The parts are in implicit_gemm/: tile.h (shapes, shared memory), tile_loaders.h, mainloop.h and epilogue.h.

#include <limits>

#include "../common/launch.h"
#include "convolution.h"
#include "implicit_gemm/epilogue.h"
#include "implicit_gemm/mainloop.h"
#include "implicit_gemm/tile.h"
#include "implicit_gemm/tile_loaders.h"

namespace filterscope::kernels {
namespace {

using namespace implicit_gemm;

/// Consecutive blocks share their positions, so that they find the input in L2.
template <class T, class Tile>
__global__ void __launch_bounds__(Tile::kThreads, Tile::kBlocksPerSm)
    implicit_gemm_kernel(Global<const T> input, Global<const T> weights, Global<const float> bias,
                         Global<T> output, Global<std::uint32_t> mask_out,
                         Global<const std::uint32_t> mask_in, MmaParams params) {
  FILTERSCOPE_DYNAMIC_SHARED(unsigned char, memory);
  const int block = static_cast<int>(blockIdx.x);
  const int channel_tiles = params.out_channels / Tile::kChannels;
  const int first_position = block / channel_tiles * Tile::kPositions;
  const int first_channel = block % channel_tiles * Tile::kChannels;
  const CopyLane copy_lane;
  const HaloTileLoader<T, Tile> halo_tiles(input, params, copy_lane, first_position);
  const WeightLoader<T, Tile> filters(weights, params, copy_lane, first_channel);
  start_copies<T, Tile>(memory, halo_tiles, filters);
  if (threadIdx.x < kLineBytes) memory[kZeros + threadIdx.x] = 0;

  const MmaLane<Tile> lane;
  MmaFragmentLoader<Tile> loader(params, lane, first_position);
  MmaAccumulators<Tile> accumulators;
#pragma unroll
  for (int j = 0; j < Tile::kMmaColumns; ++j) {
    const int channel = first_channel + lane.first_channel + j * kMmaChannels + lane.accumulator_column;
    const float first = bias ? bias.load(channel) : 0.f;
    const float second = bias ? bias.load(channel + 1) : 0.f;
#pragma unroll
    for (int i = 0; i < Tile::kMmaRows; ++i) {
      accumulators[i][j][0] = accumulators[i][j][2] = first;
      accumulators[i][j][1] = accumulators[i][j][3] = second;
    }
  }
  mma_mainloop<T, Tile>(accumulators, memory, params, halo_tiles, filters, loader);
  store_mma_tile<T, Tile>({output, mask_out, mask_in, static_cast<bool>(bias)}, memory, accumulators, params,
                          lane, first_position, first_channel);
}

// ---- launch

/// Positions fit an int: 2^31 of them with 64 channels would take 256 GiB.
template <class T, class Tile>
void launch_tile(const ConvolutionArguments<T>& arguments, cudaStream_t stream) {
  const MmaParams params{.height = arguments.height,
                         .width = arguments.width,
                         .in_channels = arguments.in_channels,
                         .out_channels = arguments.out_channels,
                         .positions = arguments.images_count * arguments.height * arguments.width,
                         .row_pitch = row_pitch<Tile>(arguments.width),
                         .halo_rows = halo_rows<Tile>(arguments.width)};
  const int blocks =
      ceil_div(params.positions, Tile::kPositions) * (arguments.out_channels / Tile::kChannels);
  launch("convolution_implicit_gemm", implicit_gemm_kernel<T, Tile>,
         {dim3(static_cast<unsigned>(blocks)), dim3(Tile::kThreads),
          static_cast<std::size_t>(shared_bytes<Tile>(arguments.width))},
         stream, arguments.input, arguments.weights, arguments.bias, arguments.output, arguments.mask_out,
         arguments.mask_in, params);
}

// With two blocks per SM one computes while the other starts or stores. They need at most 156 of the 164 KiB
// of shared memory on sm_80; with 100 KiB (sm_86, sm_89) only narrow maps leave room for both.
using Tile128x128 = MmaTile<128, 128, 64, 64, 2>;
using Tile256x64 = MmaTile<256, 64, 64, 64, 2>;
using Tile128x64 = MmaTile<128, 64, 64, 32, 3>;
using Tile256x128 = MmaTile<256, 128, 64, 64, 1>;

constexpr int kAnyWidth = std::numeric_limits<int>::max();
static_assert(takes<Tile128x128>(kAnyWidth) && takes<Tile128x64>(kAnyWidth));

}  // namespace

template <class T>
void convolution_implicit_gemm(const ConvolutionArguments<T>& arguments, cudaStream_t stream) {
  if (arguments.out_channels % Tile128x128::kChannels == 0) {
    launch_tile<T, Tile128x128>(arguments, stream);
  } else if (takes<Tile256x64>(arguments.width)) {
    launch_tile<T, Tile256x64>(arguments, stream);
  } else {
    launch_tile<T, Tile128x64>(arguments, stream);
  }
}

template <class T>
void convolution_implicit_gemm_small(const ConvolutionArguments<T>& arguments, cudaStream_t stream) {
  launch_tile<T, Tile128x64>(arguments, stream);
}

template <class T>
void convolution_implicit_gemm_large(const ConvolutionArguments<T>& arguments, cudaStream_t stream) {
  if (takes<Tile256x128>(arguments.width)) {
    launch_tile<T, Tile256x128>(arguments, stream);
  } else {
    launch_tile<T, Tile128x128>(arguments, stream);
  }
}

template void convolution_implicit_gemm<Half>(const ConvolutionArguments<Half>&, cudaStream_t);
template void convolution_implicit_gemm<Bfloat16>(const ConvolutionArguments<Bfloat16>&, cudaStream_t);
template void convolution_implicit_gemm_small<Half>(const ConvolutionArguments<Half>&, cudaStream_t);
template void convolution_implicit_gemm_small<Bfloat16>(const ConvolutionArguments<Bfloat16>&, cudaStream_t);
template void convolution_implicit_gemm_large<Half>(const ConvolutionArguments<Half>&, cudaStream_t);
template void convolution_implicit_gemm_large<Bfloat16>(const ConvolutionArguments<Bfloat16>&, cudaStream_t);

}  // namespace filterscope::kernels
