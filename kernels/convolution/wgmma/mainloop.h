#pragma once

#include "../../common/ring.h"
#include "../../common/taps.h"
#include "../../ptx/ldmatrix.h"
#include "../../ptx/wgmma.h"
#include "tile_scheduler.h"

/// The products of a tile: positions from registers, weights from shared memory.
namespace filterscope::kernels::wgmma {

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
using Accumulators = float[kProducts][Tile::kAccumulators];
using Fragments = std::uint32_t[kSteps][4];

/// Reads what the warp's rows have of the input, shifted by a tap. Where a tap leaves the image, lanes read
/// zeros instead of the halo tile.
template <FusedPool kPool>
class FragmentLoader {
 public:
  __device__ explicit FragmentLoader(const Lane& lane) : chunk_(lane.lane / kWarpRows * kChunkBytes) {}

  __device__ void begin_tile(const Params& params, const Lane& lane, int first_window) {
    const int row = lane.lane % kWarpRows;
    const Windows::Place place = params.windows.place(first_window + lane.first_window + row / 2);
    const int margin = halo_margin<kPool>(params.width) - params.width - 1;
    row_ = place.position + row % 2 - params.windows.place(first_window).position + margin;
    inside_ = taps_inside<kInputRows>(place.y, place.x + row % 2, params.height, params.width);
  }

  /// All channels of the slice. `input_row` is a row of the windows and their neighbours, counted from the
  /// one above them, `column` one of the taps', and the halo tile begins at byte `halo`.
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
  int chunk_;        // Byte in a row of the halo tile.
  int row_;          // Of the halo tile, for the first tap.
  unsigned inside_;  // Bit 3 r + s: whether column s of input row r is in the image.
};

/// Adds the whole product of a tile to the sums.
template <class T, class Tile, class Loader, class Memory>
__device__ inline void mainloop(Accumulators<Tile>& accumulators, const Memory& memory, const Params& params,
                                const Lane& lane, const Loader& loader, Ring<Memory>& halo_tiles,
                                Ring<Memory>& stages, bool weights_are_there) {
  const int first_halo = kWeights + params.stages * Tile::kStageBytes;
  const std::uint64_t descriptor = ptx::wgmma_descriptor(memory + kWeights);
  const bool releases = lane.lane == 0;
  const bool releases_stages = releases && !params.resident_weights;
  // While one row of inputs is multiplied, the next one is read to other registers.
  Fragments fragments[2];
  int last_stage = -1;  // Of the column before.
  for (int slice = 0; slice < params.slices; ++slice) {
    halo_tiles.wait_full();
    const int halo = first_halo + halo_tiles.index() * params.halo_bytes();
#pragma unroll 1
    for (int column = 0; column < kKernelSize; ++column) {
      int stage[kKernelSize];
      // An input row is that of tap row i for the upper outputs, and of i - 1 for the lower ones.
#pragma unroll
      for (int input_row = 0; input_row < kInputRows; ++input_row) {
        loader.load(fragments[input_row % 2], memory, params, halo, input_row, column);
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
            ptx::wgmma_m64k16<T>(accumulators[product], fragments[input_row % 2][step],
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
    if (releases) halo_tiles.release(halo_tiles.index());
    halo_tiles.advance();
  }
  ptx::wgmma_wait<0>();
  if (releases_stages) stages.release(last_stage);
#pragma unroll
  for (int product = 0; product < kProducts; ++product) ptx::wgmma_done(accumulators[product]);
}

}  // namespace filterscope::kernels::wgmma
