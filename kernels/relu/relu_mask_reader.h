#pragma once

#include <type_traits>

#include "../common/global.h"
#include "mask_format.h"

namespace filterscope::kernels {

/// A kernel's view of a mask. It reads as many elements at a time as 16 bytes of the compute type T hold.
template <MaskFormat kFormat, class T>
class ReluMaskReader {
  static constexpr int kWidth = static_cast<int>(16 / sizeof(T));
  using Stored = std::conditional_t<kFormat == MaskFormat::bits, std::uint32_t,
                                    std::conditional_t<kFormat == MaskFormat::bytes, std::uint8_t, T>>;

 public:
  /// The loaded memory, decoded only by active(), so that several loads can be in flight.
  using Loaded = std::conditional_t<kFormat == MaskFormat::bits, std::uint32_t, Vector<Stored, kWidth>>;

  explicit ReluMaskReader(const void* data) : data_(static_cast<const Stored*>(data)) {}

  /// Loads the mask of elements index .. index + kWidth - 1 of [position][channels]; index is a multiple of
  /// kWidth.
  __device__ Loaded load([[maybe_unused]] std::int64_t index) const {
    if constexpr (kFormat == MaskFormat::none) {
      return {};
    } else if constexpr (kFormat == MaskFormat::bits) {
      return data_.load(index >> 5) >> (index & 31);
    } else {
      return data_.template load_vector<kWidth>(index);
    }
  }
  /// Whether element index + i is active.
  static __device__ bool active([[maybe_unused]] const Loaded& loaded, [[maybe_unused]] int i) {
    if constexpr (kFormat == MaskFormat::none) {
      return true;
    } else if constexpr (kFormat == MaskFormat::bits) {
      return (loaded >> i & 1u) != 0;
    } else if constexpr (kFormat == MaskFormat::bytes) {
      return loaded[i] != 0;
    } else {
      return to_float(loaded[i]) > 0.f;
    }
  }

 private:
  Global<const Stored> data_;
};

}  // namespace filterscope::kernels
