#include "timing.h"

#include <algorithm>
#include <array>
#include <random>
#include <vector>

#include "storage.h"

namespace filterscope::cuda {

namespace {

// Values in [-1, 1) in the storage type, `count` of them, a short random sequence over and over. Random,
// since tensor cores draw less power, and run faster, on zeros.
DeviceBuffer<std::byte> random_values(std::size_t count, Precision precision) {
  return with_storage(precision, [&]<class T>(Storage<T>) {
    constexpr std::size_t kSequence = 1 << 18;
    std::mt19937 generator(1);
    std::uniform_real_distribution<float> uniform(-1.f, 1.f);
    std::vector<T> sequence(std::min(count, kSequence));
    for (T& value : sequence) value = kernels::from_float<T>(uniform(generator));
    DeviceBuffer<std::byte> buffer(count * sizeof(T));
    for (std::size_t done = 0; done < count; done += sequence.size()) {
      check(cudaMemcpy(buffer.data() + done * sizeof(T), sequence.data(),
                       std::min(count - done, sequence.size()) * sizeof(T), cudaMemcpyHostToDevice),
            "copying random data to the device");
    }
    return buffer;
  });
}

}  // namespace

ConvolutionTimer::ConvolutionTimer(const ConvolutionProblem& problem) {
  const std::size_t positions = std::size_t(problem.images) * problem.height * problem.width;
  source_ = random_values(positions * problem.source_channels(), problem.precision);
  weights_ = random_values(std::size_t{9} * problem.in_channels * problem.out_channels, problem.precision);
  // Read as either type of bias.
  bias_ = random_values(problem.out_channels, Precision::fp32);
  destination_ =
      DeviceBuffer<std::byte>(positions * problem.destination_channels() * storage_bytes(problem.precision));
  if (problem.gate == Gate::activation) {
    gate_ = random_values(positions * problem.destination_channels(), problem.precision);
  } else if (problem.gate != Gate::none) {
    gate_ = DeviceBuffer<std::byte>(gate_bytes(problem, problem.destination_channels()));
    check(cudaMemset(gate_.data(), problem.gate == Gate::bits ? 0x5a : 1, gate_.size()), "filling a mask");
  }
}

double ConvolutionTimer::milliseconds(ConvolutionVariant& variant, double hopeless) {
  constexpr int kLaunches = 5;
  const DeviceBuffer<std::byte> workspace(variant.workspace_bytes());
  const bool forward = variant.problem().direction == Direction::forward;
  const ConvolutionArguments arguments{.source = source_.data(),
                                       .weights = weights_.data(),
                                       .bias = bias_.data(),
                                       .destination = destination_.data(),
                                       .gate_out = forward ? gate_.data() : nullptr,
                                       .gate_in = forward ? nullptr : gate_.data(),
                                       .workspace = workspace.data()};
  variant.launch(arguments, stream_);
  std::array<float, kLaunches> times;
  for (float& time : times) {
    const Event start(Event::Timing::on);
    const Event stop(Event::Timing::on);
    start.record(stream_);
    variant.launch(arguments, stream_);
    stop.record(stream_);
    stop.synchronise();
    time = stop.milliseconds_since(start);
    if (time > hopeless) return time;
  }
  std::ranges::nth_element(times, times.begin() + kLaunches / 2);
  return times[kLaunches / 2];
}

}  // namespace filterscope::cuda
