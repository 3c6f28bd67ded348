#include "device.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <utility>

namespace filterscope::bench {

namespace {

std::size_t l2_bytes() {
  int device = 0;
  cuda::check(cudaGetDevice(&device), "asking for the current device");
  cudaDeviceProp properties{};
  cuda::check(cudaGetDeviceProperties(&properties, device), "asking for the properties of device {}", device);
  return static_cast<std::size_t>(properties.l2CacheSize);
}

}  // namespace

CudaDevice::CudaDevice(bool tiny, MatrixProduct matrix_product, CopyBandwidth copy_bandwidth)
    : Device(tiny ? 1 : l2_bytes()),
      tiny_(tiny),
      matrix_product_(std::move(matrix_product)),
      copy_bandwidth_(std::move(copy_bandwidth)) {}

Stopwatch CudaDevice::stopwatch(const Operation& operation) {
  struct Replay {
    cuda::Graph graph;
    cuda::Event start{cuda::Event::Timing::on};
    cuda::Event stop{cuda::Event::Timing::on};
  };
  const auto replay = std::make_shared<Replay>();
  const auto time = [replay, this](const auto& enqueue) {
    replay->start.record(stream_);
    enqueue();
    replay->stop.record(stream_);
    replay->stop.synchronise();
    return replay->stop.milliseconds_since(replay->start) * 1e-3;
  };
  // At least a millisecond, so that the start of the graph does not count, with every buffer used equally
  // often.
  constexpr double kReplaySeconds = 1e-3;
  constexpr double kMostRuns = 2000;
  const double alone = time([&] { operation.run(0); });
  const double rounds =
      std::ceil(std::min(kReplaySeconds / std::max(alone, 1e-6), kMostRuns) / operation.sets);
  const int runs = tiny_ ? 1 : std::max(1, static_cast<int>(rounds)) * operation.sets;
  replay->graph = cuda::Graph::capture(stream_, [&] {
    for (int run = 0; run < runs; ++run) operation.run(run % operation.sets);
  });
  if (!tiny_) time([&] { replay->graph.launch(stream_); });
  return {.runs = runs,
          .seconds = [replay, time, this] { return time([&] { replay->graph.launch(stream_); }); }};
}

Ceilings CudaDevice::ceilings(Precision precision) {
  if (copy_ < 0) copy_ = copy_bandwidth_ ? copy_bandwidth_(stream_) : 0;
  const auto [product, added] = products_.try_emplace(precision);
  if (added && matrix_product_) product->second = matrix_product_(precision, stream_);
  return {.operations = product->second, .bytes = copy_};
}

}  // namespace filterscope::bench
