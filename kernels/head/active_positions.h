#pragma once

#include <cstdint>

#include "../common/channel_lanes.h"
#include "../common/global.h"
#include "../common/types.h"
#include "filter_head.h"

/// Bits of the positions whose response is above zero, as the heads write them and their gradients read them.
namespace filterscope::kernels {

constexpr int kWordPositions = 32;  // Per word of active bits.
static_assert(kWordPositions == kWarpSize, "a warp's vote is a word");

/// Number of words in each part of the sums. Parts consist of whole words, so that each word has a single
/// writing block.
__host__ __device__ constexpr int words_per_part(int positions) {
  return ceil_div(ceil_div(positions, kWordPositions), kFilterHeadParts);
}

/// How kernels are compiled for a HeadWindow: for the whole map after its ReLU, where nothing is left to
/// decide on the device, and for any other.
struct WholeMap {
  static constexpr bool kWhole = true;
  __device__ bool contains(int /*y*/, int /*x*/) const { return true; }
  __device__ bool before_relu() const { return false; }
};
struct PartOfMap {
  static constexpr bool kWhole = false;
  HeadWindow window;
  __device__ bool contains(int y, int x) const {
    return y >= window.top && y < window.bottom && x >= window.left && x < window.right;
  }
  __device__ bool before_relu() const { return window.before_relu; }
};

/// Calls `action` with the form of `window`.
template <class Action>
void with_window(const HeadWindow& window, Action action) {
  if (window == HeadWindow{}) {
    action(WholeMap{});
  } else {
    action(PartOfMap{window});
  }
}

/// Stores a word of active bits. Each lane passes the response at its position and gets back what it adds to
/// the loss. All lanes of the warp must call it.
template <class Window>
__device__ float active_word(Global<std::uint32_t> active, std::int64_t word, float response, bool inside,
                             const Window& window, int position, int width) {
  if constexpr (!Window::kWhole) {
    const bool counts = inside && window.contains(position / width, position % width);
    const unsigned bits = __ballot_sync(kFullWarp, counts && (window.before_relu() || response > 0.f));
    if (threadIdx.x % kWarpSize == 0) active.store(word, bits);
    return counts && (window.before_relu() || !(response <= 0.f)) ? response : 0.f;  // NaN stays.
  }
  const unsigned bits = __ballot_sync(kFullWarp, inside && response > 0.f);
  if (threadIdx.x % kWarpSize == 0) active.store(word, bits);
  return inside && !(response <= 0.f) ? response : 0.f;
}

/// Whether the image is rescued, because its filter's response is zero at every position. Exactly then all
/// sums are zero, since responses after ReLU are not negative; a NaN is not zero.
__device__ inline bool is_rescued(Global<const float> sums, int image) {
  if (!sums) return false;
  static_assert(kFilterHeadParts == 8);
  const std::int64_t at = std::int64_t{image} * kFilterHeadParts;
  const Quad first = sums.load_vector<4>(at);
  const Quad second = sums.load_vector<4>(at + 4);
  bool zero = true;
#pragma unroll
  for (int i = 0; i < 4; ++i) zero = zero && first[i] == 0.f && second[i] == 0.f;
  return zero;
}

/// The factors of the filter's nine taps in the gradient at position (y, x): the scale where the position
/// whose response used the tap lies in the map and is active, or counts and the image is rescued, else zero.
template <class Window>
__device__ void tap_factors(float* factors, Global<const std::uint32_t> active, bool rescued, int image,
                            int y, int x, int height, int width, float scale, const Window& window) {
  const std::uint32_t always = rescued ? ~std::uint32_t{0} : 0;
  const std::int64_t image_at = static_cast<std::int64_t>(image) * ceil_div(height * width, kWordPositions);
#pragma unroll
  for (int r = 0; r < 3; ++r) {
    const bool row_inside = static_cast<unsigned>(y + 1 - r) < static_cast<unsigned>(height);
#pragma unroll
    for (int s = 0; s < 3; ++s) {
      const auto position = static_cast<unsigned>((y + 1 - r) * width + x + 1 - s);
      std::uint32_t word = 0;
      if (row_inside && static_cast<unsigned>(x + 1 - s) < static_cast<unsigned>(width)) {
        word = active.load(image_at + position / kWordPositions);
        if (window.contains(y + 1 - r, x + 1 - s)) word |= always;
      }
      factors[r * 3 + s] = (word >> (position % kWordPositions) & 1u) != 0 ? scale : 0.f;
    }
  }
}

}  // namespace filterscope::kernels
