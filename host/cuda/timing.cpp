#include "timing.h"

#include <algorithm>
#include <array>
#include <random>
#include <vector>

#include "storage.h"

namespace filterscope::cuda {

double device_milliseconds(const Stream& stream, const std::function<void()>& launch, double hopeless) {
  constexpr int kReplays = 5;
  constexpr double kReplayMilliseconds = 1;
  constexpr int kMostLaunches = 20;
  // What the host may add to a launch that stands alone.
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
  if (alone > hopeless + kHostMilliseconds) return alone;
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
    constexpr std::size_t kSequence = 1 << 18;
    std::mt19937 generator(1);
    std::uniform_real_distribution<float> uniform(-1.f, 1.f);
    std::vector<T> sequence(std::min(count, kSequence));
    for (T& value : sequence) value = kernels::from_float<T>(uniform(generator));
    DeviceBuffer<std::byte> buffer(count * sizeof(T));
    const auto copy = [&](std::size_t to, const void* from, std::size_t values, cudaMemcpyKind kind) {
      check(cudaMemcpy(buffer.data() + to * sizeof(T), from, values * sizeof(T), kind),
            "filling device memory with random values");
    };
    copy(0, sequence.data(), sequence.size(), cudaMemcpyHostToDevice);
    // The sequence over and over, doubling what is there.
    for (std::size_t done = sequence.size(), more = 0; done < count; done += more) {
      more = std::min(done, count - done);
      copy(done, buffer.data(), more, cudaMemcpyDeviceToDevice);
    }
    check(cudaStreamSynchronize(nullptr), "filling device memory with random values");
    return buffer;
  });
}

namespace {

template <class T>
DeviceBuffer<T> filled(std::size_t count, int byte) {
  DeviceBuffer<T> buffer(count);
  check(cudaMemset(buffer.data(), byte, count * sizeof(T)), "filling a mask");
  check(cudaStreamSynchronize(nullptr), "filling a mask");
  return buffer;
}

}  // namespace

ConvolutionTimer::ConvolutionTimer(const ConvolutionProblem& problem) {
  source_ = random_values(problem.source_size(), problem.precision);
  weights_ = random_values(std::size_t{9} * problem.in_channels * problem.out_channels, problem.precision);
  // Read as either type of bias.
  bias_ = random_values(problem.out_channels, Precision::fp32);
  destination_ = DeviceBuffer<std::byte>(problem.destination_size() * storage_bytes(problem.precision));
  constexpr int kHalfOpen = 0x5a;
  if (problem.gate == Gate::activation) {
    gate_ = random_values(problem.destination_size(), problem.precision);
  } else if (problem.gate != Gate::none) {
    gate_ = filled<std::byte>(gate_bytes(problem, problem.destination_channels()),
                              problem.gate == Gate::bits ? kHalfOpen : 1);
  }
  if (problem.pooled) {
    constexpr std::size_t kBitsPerWord = 32;
    constexpr int kAllWinners = 0xe4;  // The four elements of a window, by turns.
    const std::size_t outputs = problem.pooled_size(problem.out_channels);
    winners_ = filled<std::uint32_t>(2 * outputs / kBitsPerWord, kAllWinners);
    open_ = filled<std::uint32_t>(outputs / kBitsPerWord, kHalfOpen);
  }
}

double ConvolutionTimer::milliseconds(ConvolutionVariant& variant, double hopeless) {
  const DeviceBuffer<std::byte> workspace(variant.workspace_bytes());
  const ConvolutionProblem& problem = variant.problem();
  const DeviceBuffer<std::byte> map(
      variant.needs_map() ? problem.map_size(problem.out_channels) * storage_bytes(problem.precision) : 0);
  const bool forward = problem.direction == Direction::forward;
  const ConvolutionArguments arguments{.source = source_.data(),
                                       .weights = weights_.data(),
                                       .bias = bias_.data(),
                                       .destination = destination_.data(),
                                       .gate_out = forward ? gate_.data() : nullptr,
                                       .gate_in = forward ? nullptr : gate_.data(),
                                       .workspace = workspace.data(),
                                       .winners = winners_.data(),
                                       .open = open_.data(),
                                       .map = map.data()};
  return device_milliseconds(
      stream_, [&] { variant.launch(arguments, stream_); }, hopeless);
}

}  // namespace filterscope::cuda
