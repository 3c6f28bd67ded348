#pragma once

#include <cstddef>
#include <limits>

#include "convolution.h"
#include "runtime.h"

namespace filterscope::cuda {

/// Times variants of one problem on the current device, on random data of the problem's size.
class ConvolutionTimer {
 public:
  /// Throws OutOfMemory.
  explicit ConvolutionTimer(const ConvolutionProblem& problem);

  /// Median of several launches after a warm-up. `variant` computes the timer's problem. One that takes
  /// longer than `hopeless` is returned at once.
  double milliseconds(ConvolutionVariant& variant, double hopeless = std::numeric_limits<double>::infinity());

 private:
  DeviceBuffer<std::byte> source_;
  DeviceBuffer<std::byte> weights_;
  DeviceBuffer<std::byte> bias_;
  DeviceBuffer<std::byte> destination_;
  DeviceBuffer<std::byte> gate_;
  Stream stream_;
};

}  // namespace filterscope::cuda
