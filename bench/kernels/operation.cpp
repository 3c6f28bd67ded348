#include "operation.h"

#include <benchmark/benchmark.h>

#include <algorithm>
#include <cstdint>
#include <new>
#include <set>
#include <utility>

namespace filterscope::bench {

namespace {

std::set<std::string> g_failed;

// The operation being measured. Google Benchmark calls a benchmark several times to find the number of
// iterations; the operation is made and checked only once.
struct Current {
  std::string name;
  Operation operation;
  Stopwatch stopwatch;
  std::string refusal;
};
Current g_current;

void prepare(const std::string& name, Device& device, const std::function<Operation()>& make) {
  if (g_current.name == name) return;
  g_current = {};  // Releases the memory first.
  g_current.name = name;
  try {
    g_current.operation = make();
    g_current.operation.run(0);
    g_current.refusal = g_current.operation.check();
    if (g_current.refusal.empty()) {
      g_current.stopwatch = device.stopwatch(g_current.operation);
    } else {
      g_current.refusal = "wrong result: " + g_current.refusal;
      g_failed.insert(name);
    }
  } catch (const Unavailable& error) {
    g_current.refusal = error.what();
  } catch (const std::bad_alloc& error) {
    g_current.refusal = error.what();
  } catch (const std::exception& error) {
    g_current.refusal = error.what();
    g_failed.insert(name);
  }
  if (!g_current.refusal.empty()) g_current.operation = {};
}

void measure(benchmark::State& state, const std::string& name, Device& device,
             const std::function<Operation()>& make) {
  prepare(name, device, make);
  if (!g_current.refusal.empty()) {
    state.SkipWithError(g_current.refusal.c_str());
    return;
  }
  double seconds = 0;
  std::int64_t runs = 0;
  while (state.KeepRunningBatch(g_current.stopwatch.runs)) {
    const double taken = g_current.stopwatch.seconds();
    state.SetIterationTime(taken);
    seconds += taken;
    runs += g_current.stopwatch.runs;
  }
  const auto rate = [&](double amount) { return amount * static_cast<double>(runs) / seconds; };
  const auto report = [&](const char* unit, const char* share, double amount, double ceiling) {
    if (amount == 0) return;
    state.counters[unit] = rate(amount) / 1e9;
    if (ceiling > 0) state.counters[share] = rate(amount) / ceiling;
  };
  const auto& [work, ceilings, sets, run, check, label] = g_current.operation;
  report("GB/s", "of_copy", work.bytes, ceilings.bytes);
  report("GFLOP/s", "of_peak", work.operations, ceilings.operations);
  if (work.winograd_operations > 0 && ceilings.operations > 0) {
    state.counters["winograd_of_peak"] = rate(work.winograd_operations) / ceilings.operations;
  }
  state.SetLabel(label);
}

}  // namespace

int Device::sets(std::size_t bytes_of_set) const {
  constexpr std::size_t kMost = 256;
  const std::size_t wanted = 2 * cache_bytes_ / std::max<std::size_t>(bytes_of_set, 1) + 1;
  return static_cast<int>(std::clamp<std::size_t>(wanted, 2, kMost));
}

void add(const std::string& name, std::shared_ptr<Device> device, std::function<Operation()> make) {
  benchmark::RegisterBenchmark(name.c_str(),
                               [name, device = std::move(device), make = std::move(make)](
                                   benchmark::State& state) { measure(state, name, *device, make); })
      ->Unit(benchmark::kMicrosecond)
      ->UseManualTime();
}

void release() {
  g_current = {};
  benchmark::ClearRegisteredBenchmarks();
}

int failures() {
  return static_cast<int>(g_failed.size());
}

}  // namespace filterscope::bench
