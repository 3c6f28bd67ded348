#pragma once

#include <cstdint>

#include "../../common/global.h"
#include "../../ptx/cp_async.h"
#include "tile.h"

namespace filterscope::kernels::dgrad_mma {

/// Copies positions of the gradient and their masks, one stage at a time; zeros outside the image.
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
      const Source place = source_of(stage * kStagePositions + row_ + i * kPositionsAtOnce);
      ptx::cp_async_16(
          memory + (destination_ + slot * kStageBytes + i * kPositionsAtOnce * kPositionBytes),
          gradient_.template vector_address<kChunkElements>(source_ + std::int64_t{place.at} * kChannels),
          place.inside);
    }
    const int position = static_cast<int>(threadIdx.x);
    if (kMasked && position < kStagePositions) {
      const Source place = source_of(stage * kStagePositions + position);
      ptx::cp_async_8(
          memory + (kMasks + slot * kMaskStageBytes + position * kMaskBytes),
          mask_.template vector_address<kMaskWords>(mask_source_ + std::int64_t{place.at} * kMaskWords),
          place.inside);
    }
  }

 private:
  static constexpr int kPositionsAtOnce = kThreads / kChunks;
  static_assert(kPositionsAtOnce % kChunks == 0, "all positions of a thread are swizzled alike");

  /// A position's index in the image; any valid index if it lies outside.
  struct Source {
    unsigned at;
    bool inside;
  };
  __device__ Source source_of(int position) const {
    const auto at = static_cast<unsigned>(position);
    const auto y = static_cast<unsigned>(first_y_ + static_cast<int>(at / kColumns));
    const auto x = static_cast<unsigned>(first_x_ + static_cast<int>(at % kColumns));
    return {min(y * width_ + x, last_), y < end_y_ && x < width_};
  }

  Global<const T> gradient_;
  Global<const std::uint32_t> mask_;
  int first_y_;  // First row of the halo; it may lie outside the image.
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

}  // namespace filterscope::kernels::dgrad_mma
