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

/// All cores of this machine: measures the wall time of successive runs on the threads of the caller's team.
class CpuDevice final : public Device {
 public:
  /// With `tiny`, ceilings are not measured properly.
  explicit CpuDevice(bool tiny);
  Stopwatch stopwatch(const Operation& operation) override;

  /// The ceilings for the instruction set of a table of kernels ("avx512", "avx2", "generic"): the best of
  /// several runs of the operations below, measured on first use.
  Ceilings ceilings(std::string_view table);

  /// a[i] = b[i] and a[i] = b[i] + s * c[i] over arrays much larger than the cache, on all cores.
  Operation copy() const;
  Operation triad() const;
  /// Multiply-adds on registers, fused if the instruction set allows, on all cores.
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
/// A buffer of NaN, so that values which are not written are noticed.
cpu::AlignedBuffer<float> poisoned(std::size_t count);

/// The offset of a map's element in memory.
inline std::size_t offset(const cpu::MapShape& shape, int image, int y, int x, int channel) {
  return shape.size() * image + shape.plane() * (channel / cpu::kLanes) +
         (static_cast<std::size_t>(y) * shape.width + x) * cpu::kLanes + channel % cpu::kLanes;
}

}  // namespace filterscope::bench
