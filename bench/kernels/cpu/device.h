#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "../operation.h"
#include "host/cpu/aligned.h"
#include "host/cpu/map.h"

namespace filterscope::bench {

/// All cores of this machine: wall time of one run after another, on the threads of the
/// caller's team.
class CpuDevice final : public Device {
 public:
  /// `tiny`: ceilings are not worth measuring properly.
  explicit CpuDevice(bool tiny);
  Stopwatch stopwatch(const Operation& operation) override;

  /// Of the instruction set of a table of kernels ("avx512", "avx2", "generic"): the best of several runs of
  /// the operations below, when first asked for.
  Ceilings ceilings(std::string_view table);

  /// a[i] = b[i] and a[i] = b[i] + s * c[i] over arrays that are many times larger than the cache, by all
  /// cores.
  Operation copy() const;
  Operation triad() const;
  /// Fused multiply-adds, or, without them, multiplications and additions, on registers alone, by all cores.
  Operation multiply_adds(std::string_view table) const;

 private:
  bool tiny_;
  double copy_ = 0;
  std::map<std::string, double> peaks_;
};

/// The size of the last-level cache.
std::size_t cpu_cache_bytes();

/// Values uniform in [low, high), different for each seed.
void fill_random(std::span<float> values, std::uint64_t seed, float low = -1.f, float high = 1.f);
cpu::AlignedBuffer<float> random_floats(std::size_t count, std::uint64_t seed, float low = -1.f,
                                        float high = 1.f);
cpu::AlignedBuffer<std::uint8_t> random_bytes(std::size_t count, std::uint64_t seed, int below = 256);
/// Maps of several images; lanes beyond the last channel are zero.
cpu::AlignedBuffer<float> random_maps(const cpu::MapShape& shape, int images, std::uint64_t seed,
                                      float low = -1.f);
/// Full of NaN, so that what is not written shows.
cpu::AlignedBuffer<float> poisoned(std::size_t count);

/// Of a map's element in memory.
inline std::size_t offset(const cpu::MapShape& shape, int image, int y, int x, int channel) {
  return shape.size() * image + shape.plane() * (channel / cpu::kLanes) +
         (static_cast<std::size_t>(y) * shape.width + x) * cpu::kLanes + channel % cpu::kLanes;
}

}  // namespace filterscope::bench
