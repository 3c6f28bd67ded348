#include "device.h"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <limits>
#include <numeric>
#include <string>
#include <vector>

#include "../check.h"
#include "families.h"
#include "host/base/threads.h"
#include "host/cpu/kernels.h"
#include "multiply_add.h"

namespace filterscope::bench {

namespace {

using Clock = std::chrono::steady_clock;

template <class Body>
double seconds_of(const Body& body) {
  const auto begin = Clock::now();
  body();
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

const MultiplyAdds& loop_of(std::string_view table) {
#if defined(__x86_64__)
  if (table == "avx512") return multiply_add_avx512::loop;
  if (table == "avx2") return multiply_add_avx2::loop;
#endif
  return multiply_add_generic::loop;
}

// A random number from a counter: S. Vigna's splitmix64.
std::uint64_t mix(std::uint64_t value) {
  value += 0x9e3779b97f4a7c15u;
  value = (value ^ value >> 30) * 0xbf58476d1ce4e5b9u;
  value = (value ^ value >> 27) * 0x94d049bb133111ebu;
  return value ^ value >> 31;
}

}  // namespace

std::size_t cpu_cache_bytes() {
  long bytes = 0;
  for (const int level : {_SC_LEVEL2_CACHE_SIZE, _SC_LEVEL3_CACHE_SIZE, _SC_LEVEL4_CACHE_SIZE}) {
    bytes = std::max(bytes, sysconf(level));
  }
  constexpr std::size_t kUnknown = std::size_t{64} << 20;
  return bytes > 0 ? static_cast<std::size_t>(bytes) : kUnknown;
}

CpuDevice::CpuDevice(bool tiny) : Device(tiny ? 1 : cpu_cache_bytes()), tiny_(tiny) {}

Stopwatch CpuDevice::stopwatch(const Operation& operation) {
  return {.runs = 1, .seconds = [&operation, set = 0]() mutable {
            const double seconds = seconds_of([&] { operation.run(set); });
            set = set + 1 == operation.sets ? 0 : set + 1;
            return seconds;
          }};
}

Ceilings CpuDevice::ceilings(std::string_view table) {
  // Disturbances can only lower a measured peak.
  const auto least_seconds = [this](const Operation& operation) {
    double least = std::numeric_limits<double>::infinity();
    for (int i = 0; i < (tiny_ ? 1 : 8); ++i) least = std::min(least, seconds_of([&] { operation.run(0); }));
    return least;
  };
  if (copy_ == 0) {
    for (const Operation& operation : {copy(), triad()}) {
      copy_ = std::max(copy_, operation.work.bytes / least_seconds(operation));
    }
  }
  double& peak = peaks_[std::string(table)];
  if (peak == 0) {
    const Operation operation = multiply_adds(table);
    peak = operation.work.operations / least_seconds(operation);
  }
  return {.operations = peak, .bytes = copy_};
}

namespace {

// Calls body(begin, size) for each thread's share of an array.
template <class Body>
void share_out(std::size_t count, const Body& body) {
  const std::size_t threads = thread_count();
  parallel_for(thread_count(), [&](int thread) {
    const std::size_t begin = count * thread / threads;
    body(begin, count * (thread + 1) / threads - begin);
  });
}

struct Arrays {
  cpu::AlignedBuffer<float> a, b, c;
};

std::shared_ptr<Arrays> arrays(bool tiny, bool three) {
  const std::size_t bytes =
      tiny ? std::size_t{1} << 20 : std::max(std::size_t{256} << 20, 4 * cpu_cache_bytes());
  const std::size_t count = bytes / sizeof(float);
  return std::make_shared<Arrays>(
      Arrays{poisoned(count), random_floats(count, 1), random_floats(three ? count : 0, 2)});
}

std::string first_difference(const Arrays& arrays, float factor) {
  Places places;
  Comparison comparison;
  for (int i = 0; i < Places::kCount; ++i) {
    const std::size_t at = places.any(arrays.a.size());
    const float term = factor == 0 ? 0 : factor * arrays.c.data()[at];
    comparison.near(arrays.a.data()[at], arrays.b.data()[at] + term, 1e-6,
                    [&] { return fmt::format("element {}", at); });
  }
  return comparison.complaint();
}

}  // namespace

Operation CpuDevice::copy() const {
  const auto all = arrays(tiny_, false);
  return {.work = {.bytes = 2. * sizeof(float) * static_cast<double>(all->a.size())},
          .run =
              [all](int) {
                share_out(all->a.size(), [&](std::size_t begin, std::size_t size) {
                  std::memcpy(all->a.data() + begin, all->b.data() + begin, size * sizeof(float));
                });
              },
          .check = [all] { return first_difference(*all, 0); }};
}

Operation CpuDevice::triad() const {
  constexpr float kFactor = 0.5f;
  const auto all = arrays(tiny_, true);
  return {.work = {.bytes = 3. * sizeof(float) * static_cast<double>(all->a.size())},
          .run =
              [all](int) {
                share_out(all->a.size(), [&](std::size_t begin, std::size_t size) {
                  float* const a = all->a.data();
                  const float* const b = all->b.data();
                  const float* const c = all->c.data();
                  for (std::size_t i = begin; i < begin + size; ++i) a[i] = b[i] + kFactor * c[i];
                });
              },
          .check = [all] { return first_difference(*all, kFactor); }};
}

Operation CpuDevice::multiply_adds(std::string_view table) const {
  const MultiplyAdds& loop = loop_of(table);
  const long repeats = tiny_ ? 1000 : 1'000'000;
  const auto total = std::make_shared<float>();
  return {.work = {.operations = static_cast<double>(loop.operations_per_repeat) *
                                 static_cast<double>(repeats) * thread_count()},
          .run =
              [=, &loop](int) {
                std::vector<float> sums(thread_count());
                parallel_for(thread_count(), [&](int thread) { sums[thread] = loop.run(repeats); });
                *total = std::reduce(sums.begin(), sums.end());
              },
          .check =
              [=, &loop] {
                // Every sum tends to 2.
                const double sums = loop.operations_per_repeat / 2. * thread_count();
                Comparison comparison;
                comparison.near(*total, 2 * sums, 1e-3 * sums, [] { return "the total"; });
                return comparison.complaint();
              }};
}

void add_cpu_ceilings(const std::shared_ptr<CpuDevice>& device) {
  const cpu::KernelTables tables = cpu::kernel_tables();
  const std::string best = tables.tables[0]->name;
  const auto add_ceiling = [&](const std::string& name, const std::string& table, const auto& make) {
    add("cpu/ceiling/" + name, device, [=] {
      Operation operation = make();
      operation.ceilings = device->ceilings(table);
      return operation;
    });
  };
  add_ceiling("copy", best, [device] { return device->copy(); });
  add_ceiling("triad", best, [device] { return device->triad(); });
  for (int i = 0; i < tables.count; ++i) {
    const std::string table = tables.tables[i]->name;
    add_ceiling("multiply_add/" + table, table, [device, table] { return device->multiply_adds(table); });
  }
}

void fill_random(std::span<float> values, std::uint64_t seed, float low, float high) {
  const std::uint64_t stream = mix(seed);
  share_out(values.size(), [&](std::size_t begin, std::size_t size) {
    for (std::size_t i = begin; i < begin + size; ++i)
      values[i] = low + (high - low) * static_cast<float>(mix(stream + i) >> 40) * 0x1p-24f;
  });
}

cpu::AlignedBuffer<float> random_floats(std::size_t count, std::uint64_t seed, float low, float high) {
  cpu::AlignedBuffer<float> values(count);
  fill_random(values.span(), seed, low, high);
  return values;
}

cpu::AlignedBuffer<std::uint8_t> random_bytes(std::size_t count, std::uint64_t seed, int below) {
  cpu::AlignedBuffer<std::uint8_t> bytes(count);
  const std::uint64_t stream = mix(seed);
  share_out(count, [&](std::size_t begin, std::size_t size) {
    for (std::size_t i = begin; i < begin + size; ++i) {
      bytes.data()[i] =
          static_cast<std::uint8_t>((mix(stream + i) >> 32) * static_cast<std::uint64_t>(below) >> 32);
    }
  });
  return bytes;
}

cpu::AlignedBuffer<float> random_maps(const cpu::MapShape& shape, int images, std::uint64_t seed, float low) {
  cpu::AlignedBuffer<float> maps = random_floats(shape.size() * images, seed, low);
  const int used = shape.channels % cpu::kLanes;
  if (used == 0) return maps;
  const std::size_t last_block = shape.plane() * (shape.blocks() - 1);
  for (int image = 0; image < images; ++image) {
    for (std::size_t position = 0; position < shape.positions(); ++position) {
      float* const lanes = maps.data() + shape.size() * image + last_block + position * cpu::kLanes;
      std::fill(lanes + used, lanes + cpu::kLanes, 0.f);
    }
  }
  return maps;
}

cpu::AlignedBuffer<float> poisoned(std::size_t count) {
  cpu::AlignedBuffer<float> values(count);
  share_out(count, [&](std::size_t begin, std::size_t size) {
    std::fill_n(values.data() + begin, size, std::numeric_limits<float>::quiet_NaN());
  });
  return values;
}

}  // namespace filterscope::bench
