#pragma once

#include <cstdint>

#include "types.h"

namespace filterscope::kernels {

/// A divisor known before a kernel starts, so that division by it is a multiplication (Granlund and
/// Montgomery, "Division by invariant integers using multiplication", 1994).
class Divisor {
 public:
  Divisor() = default;
  /// `divisor`: 1 to 2^31 - 1.
  constexpr explicit Divisor(int divisor) : divisor_(divisor) {
    while (std::int64_t{1} << shift_ < divisor) ++shift_;
    shift_ += 31;
    factor_ = static_cast<std::uint32_t>(((std::uint64_t{1} << shift_) + divisor - 1) / divisor);
  }

  __host__ __device__ constexpr int divisor() const { return divisor_; }
  /// dividend / divisor; `dividend` must not be negative.
  __host__ __device__ constexpr int quotient(int dividend) const {
    return static_cast<int>(static_cast<std::uint64_t>(dividend) * factor_ >> shift_);
  }

 private:
  int divisor_ = 1;
  std::uint32_t factor_ = 1;
  int shift_ = 0;
};

}  // namespace filterscope::kernels
