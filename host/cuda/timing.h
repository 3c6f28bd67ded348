#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>

#include "convolution.h"
#include "runtime.h"

namespace filterscope::cuda {

/// Milliseconds that the device takes for what `launch` enqueues on `stream`, without the host's share: after
/// a warm-up, the median over replays of a graph of several launches. If a first launch takes longer than
/// `hopeless`, that is returned at once.
double device_milliseconds(const Stream& stream, const std::function<void()>& launch,
                           double hopeless = std::numeric_limits<double>::infinity());

/// `count` values in [-1, 1) in the precision's storage type. Random, since tensor cores draw less power, and
/// run faster, on zeros. Throws OutOfMemory.
DeviceBuffer<std::byte> random_values(std::size_t count, Precision precision);

/// Times variants of one problem on the current device, on random data of the problem's size.
class ConvolutionTimer {
 public:
  /// Throws OutOfMemory.
  explicit ConvolutionTimer(const ConvolutionProblem& problem);

  /// As device_milliseconds() does. `variant` computes the timer's problem. Throws OutOfMemory.
  double milliseconds(ConvolutionVariant& variant, double hopeless = std::numeric_limits<double>::infinity());

 private:
  DeviceBuffer<std::byte> source_;
  DeviceBuffer<std::byte> weights_;
  DeviceBuffer<std::byte> bias_;
  DeviceBuffer<std::byte> destination_;
  DeviceBuffer<std::byte> gate_;
  DeviceBuffer<std::uint32_t> winners_;
  DeviceBuffer<std::uint32_t> open_;
  Stream stream_;
};

}  // namespace filterscope::cuda
