#include "timing.h"

#include <algorithm>
#include <array>
#include <random>
#include <span>
#include <vector>

#include "../storage.h"

namespace filterscope::cuda {

namespace {

constexpr std::size_t kPeriod = 262139;  // Prime: no size of a map is a multiple of it.

// `sequence` repeated to `bytes` bytes.
DeviceBuffer<std::byte> repeated(std::span<const std::byte> sequence, std::size_t bytes) {
  DeviceBuffer<std::byte> buffer(bytes);
  const auto copy = [&](std::size_t to, const void* from, std::size_t count, cudaMemcpyKind kind) {
    check(cudaMemcpy(buffer.data() + to, from, count, kind), "filling device memory");
  };
  std::size_t done = std::min(sequence.size(), bytes);
  copy(0, sequence.data(), done, cudaMemcpyHostToDevice);
  // Doubles what is there.
  for (std::size_t more = 0; done < bytes; done += more) {
    more = std::min(done, bytes - done);
    copy(done, buffer.data(), more, cudaMemcpyDeviceToDevice);
  }
  check(cudaStreamSynchronize(nullptr), "filling device memory");
  return buffer;
}

}  // namespace

double device_milliseconds(const Stream& stream, const std::function<void()>& launch, double cutoff) {
  constexpr int kReplays = 5;
  constexpr double kReplayMilliseconds = 1;
  constexpr int kMostLaunches = 20;
  // The overhead that the host may add to a single launch.
  constexpr double kHostMilliseconds = 0.1;

  const Event start(Event::Timing::on);
  const Event stop(Event::Timing::on);
  const auto time = [&](const auto& enqueue) {
    start.record(stream);
    enqueue();
    stop.record(stream);
    stop.synchronise();
    return double{stop.milliseconds_since(start)};
  };
  launch();
  const double alone = time(launch);
  if (alone > cutoff + kHostMilliseconds) return alone;
  const int launches =
      std::clamp(static_cast<int>(kReplayMilliseconds / std::max(alone, 1e-3)), 1, kMostLaunches);
  const Graph graph = Graph::capture(stream, [&] {
    for (int i = 0; i < launches; ++i) launch();
  });
  graph.launch(stream);
  std::array<double, kReplays> times;
  for (double& replay : times) replay = time([&] { graph.launch(stream); });
  std::ranges::nth_element(times, times.begin() + kReplays / 2);
  return times[kReplays / 2] / launches;
}

DeviceBuffer<std::byte> random_values(std::size_t count, Precision precision) {
  return with_storage(precision, [&]<class T>(Storage<T>) {
    // Made once: it takes milliseconds, and every timed problem has several arrays.
    static const std::vector<T> sequence = [] {
      std::mt19937 generator(1);
      std::uniform_real_distribution<float> uniform(-1.f, 1.f);
      std::vector<T> values(kPeriod);
      for (T& value : values) value = kernels::from_float<T>(uniform(generator));
      return values;
    }();
    return repeated(std::as_bytes(std::span(sequence)), count * sizeof(T));
  });
}

DeviceBuffer<std::byte> random_bytes(std::size_t count, std::byte mask) {
  std::mt19937 generator(2);
  std::vector<std::byte> sequence(std::min(count, kPeriod));
  for (std::byte& value : sequence) value = std::byte(generator() >> 8 & 0xff) & mask;
  return repeated(sequence, count);
}

}  // namespace filterscope::cuda
