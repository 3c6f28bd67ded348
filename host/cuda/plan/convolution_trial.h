#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <vector>

#include "../convolution.h"
#include "../runtime.h"
#include "trial_result.h"

namespace filterscope::cuda {

/// Times and checks variants of one problem on the current device, with random data of the problem's size.
/// The check does not replace a test of the kernel; it prevents wrong pictures on a device, driver or library
/// that the kernels have not been tested with.
class ConvolutionTrial {
 public:
  /// Throws OutOfMemory.
  explicit ConvolutionTrial(const ConvolutionProblem& problem);

  /// device_milliseconds() of `variant`, which computes the trial's problem. Throws OutOfMemory, and
  /// WrongResult if a sample (samples_of()) differs from the reference variant's by more than expect_alike()
  /// allows.
  double milliseconds(ConvolutionVariant& variant, double cutoff = std::numeric_limits<double>::infinity());

 private:
  static TrialResult read(const ConvolutionProblem& problem, const ConvolutionArguments& arguments,
                          const Sample& sample);

  const void* weights(WeightLayout layout);
  ConvolutionArguments arguments(const ConvolutionVariant& variant);
  void expect_right(ConvolutionVariant& variant, const ConvolutionArguments& arguments);
  // By the reference variant; nothing if there is none.
  std::optional<TrialResult> expected(const Sample& sample);

  ConvolutionProblem problem_;
  std::vector<Sample> samples_;
  DeviceBuffer<std::byte> source_;
  DeviceBuffer<std::byte> krsc_;
  DeviceBuffer<std::byte> crsk_rotated_;  // Made when first needed.
  DeviceBuffer<float> bias_;
  DeviceBuffer<std::byte> storage_bias_;
  DeviceBuffer<std::byte> destination_;
  DeviceBuffer<std::byte> mask_;
  DeviceBuffer<std::byte> argmax_;
  DeviceBuffer<std::byte> active_;
  Stream stream_;
  std::vector<std::optional<TrialResult>> expected_;  // For samples_, from the first comparison on.
};

}  // namespace filterscope::cuda
