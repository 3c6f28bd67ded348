#pragma once

#include <type_traits>

#include "gate.h"
#include "global.h"

namespace filterscope::kernels {

/// A gate as kernels read it. T is the compute type.
template <GateKind kKind, class T>
class GateReader {
  using Stored = std::conditional_t<kKind == GateKind::bits, std::uint32_t,
                                    std::conditional_t<kKind == GateKind::bytes, std::uint8_t, T>>;

 public:
  explicit GateReader(const void* data) : data_(static_cast<const Stored*>(data)) {}

  /// Bit i: whether element index + i of [position][channels] is open. N of 1, 2, 4, ... elements, whose size
  /// in T is 16 bytes at most; index is a multiple of N.
  template <int N>
  __device__ std::uint32_t load(std::int64_t index) const {
    constexpr std::uint32_t kAll = (std::uint32_t{1} << N) - 1;
    if constexpr (kKind == GateKind::none) {
      return kAll;
    } else if constexpr (kKind == GateKind::bits) {
      return data_.load(index >> 5) >> (index & 31) & kAll;
    } else {
      const Vector<Stored, N> values = data_.template load_vector<N>(index);
      std::uint32_t open = 0;
      for (int i = 0; i < N; ++i) {
        if constexpr (kKind == GateKind::bytes) {
          open |= std::uint32_t{values[i]} << i;
        } else {
          open |= (to_float(values[i]) > 0.f ? std::uint32_t{1} : 0) << i;
        }
      }
      return open;
    }
  }

 private:
  Global<const Stored> data_;
};

}  // namespace filterscope::kernels
