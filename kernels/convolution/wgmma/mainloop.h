#pragma once

#include "../../common/ring.h"
#include "../../common/taps.h"
#include "../../ptx/ldmatrix.h"
#include "../../ptx/wgmma.h"
#include "tile_scheduler.h"

/// The products of a tile: positions from registers, weights from shared memory.
namespace filterscope::kernels::wgmma {

/// A thread's place in its block and in the output tile.
struct Lane {
  int lane = static_cast<int>(threadIdx.x % kWarpSize);
  int warp = static_cast<int>(threadIdx.x / kWarpSize);
  int first_window = warp * kWarpWindows;  ///< The warp's first window of the tile.
  int quad = lane / kQuadLanes;
  int quad_lane = lane % kQuadLanes;
};

/// A thread's accumulators, as ptx::wgmma_m64k16 distributes them.
template <class Tile>
using Accumulators = float[kProducts][Tile::kAccumulators];
using Fragments = std::uint32_t[kSteps][4];

/// Loads fragments of the warp's input positions, shifted by a tap. Where a tap leaves the image, lanes read
/// zeros instead of the halo tile.
template <FusedPool kPool>
class FragmentLoader {
 public:
  __device__ explicit FragmentLoader(const Lane& lane) : chunk_(lane.lane / kWarpRows * kChunkBytes) {}

  __device__ void begin_tile(const Params& params, const Lane& lane, int first_window) {
    const int row = lane.lane % kWarpRows;
    const Windows::Origin origin = params.windows.origin(first_window + lane.first_window + row / 2);
    const int margin = halo_margin<kPool>(params.width) - params.width - 1;
    row_ = origin.position + row % 2 - params.windows.origin(first_window).position + margin;
    inside_ = taps_inside<kInputRows>(origin.y, origin.x + row % 2, params.height, params.width);
  }

  /// Loads all channels of the slice. `input_row` counts the rows of inputs from the one above the windows,
  /// `column` is that of the taps, and the halo tile begins at byte `halo`.
  template <class Memory>
  __device__ void load(Fragments& fragments, const Memory& memory, const Params& params, int halo,
                       int input_row, int column) const {
    const int row = row_ + input_row * params.width + column;
    int at = halo + row * kRowBytes + (chunk_ ^ (row & (kSwizzleRows - 1)) * kChunkBytes);
    const bool inside = (inside_ >> (input_row * kKernelSize + column) & 1u) != 0;
    if (!inside) at = kZeros + (at & (kLineBytes - 1));  // The same banks.
#pragma unroll
    for (int step = 0; step < kSteps; ++step) {
      ptx::ldmatrix_x4(fragments[step], memory + (at ^ step * kProductDepth * kElementBytes));
    }
  }

 private:
  int chunk_;        // Byte offset in a row of the halo tile.
  int row_;          // Row of the halo tile for the first tap.
  unsigned inside_;  // Bit 3 r + s: column s of input row r is in the image.
};

/// Computes the whole product of a tile. `weights_loaded`: resident weights that an earlier tile has
/// waited for.
template <class T, class Tile, class Loader, class Memory>
__device__ inline void mainloop(Accumulators<Tile>& accumulators, const Memory& memory, const Params& params,
                                const Lane& lane, const Loader& loader, Ring<Memory>& halo_tiles,
                                Ring<Memory>& stages, bool weights_loaded) {
  const int first_halo = kWeights + params.stages * Tile::kStageBytes;
  const std::uint64_t descriptor = ptx::wgmma_descriptor(memory + kWeights);
  const bool releases = lane.lane == 0;
  const bool releases_stages = releases && !params.resident_weights;
  // While one row of inputs is multiplied, the next is loaded to the other set of registers.
  Fragments fragments[2];
  int last_stage = -1;  // The last tap of the previous column.
  for (int slice = 0; slice < params.slices; ++slice) {
    halo_tiles.wait_full();
    const int halo = first_halo + halo_tiles.index() * params.halo_bytes();
#pragma unroll 1
    for (int column = 0; column < kKernelSize; ++column) {
      int stage[kKernelSize];
      // Input row i meets tap row i for the upper row of outputs, tap row i - 1 for the lower.
#pragma unroll
      for (int input_row = 0; input_row < kInputRows; ++input_row) {
        loader.load(fragments[input_row % 2], memory, params, halo, input_row, column);
        // Waits for a whole column: with waits among the products, ptxas would serialise them.
        if (input_row == 0) {
#pragma unroll
          for (int& tap_stage : stage) {
            if (!weights_loaded) stages.wait_full();
            tap_stage = stages.index();
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
            ptx::wgmma_m64k16<T>(accumulators[product], fragments[input_row % 2][step],
                                 descriptor +
                                     static_cast<std::uint64_t>(stage[tap_row] * (Tile::kStageBytes >> 4)) +
                                     step * ptx::kDescriptorStep,
                                 slice > 0 || column > 0 || tap_row > 0 || step > 0);
          }
        }
        ptx::wgmma_commit();
        ptx::wgmma_wait<1>();
        // The previous row's products are done; they were the last to read this tap's weights.
        if (input_row == 0 && last_stage >= 0 && releases_stages) stages.release(last_stage);
        if (input_row >= 2 && releases_stages) stages.release(stage[input_row - 2]);
      }
      last_stage = stage[kKernelSize - 1];
    }
    // Products in flight read their positions from registers.
    if (releases) halo_tiles.release(halo_tiles.index());
    halo_tiles.advance();
  }
  ptx::wgmma_wait<0>();
  if (releases_stages) stages.release(last_stage);
#pragma unroll
  for (int product = 0; product < kProducts; ++product) ptx::wgmma_done(accumulators[product]);
}

}  // namespace filterscope::kernels::wgmma
