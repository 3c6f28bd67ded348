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

/// Tries variants of one problem on the current device, on random data of the problem's size: what each
/// takes, and whether its result is right. That is no test of a kernel, but a device, a driver or a library
/// that no kernel was tested with must not spoil pictures.
class ConvolutionTrial {
 public:
  /// Throws OutOfMemory.
  explicit ConvolutionTrial(const ConvolutionProblem& problem);

  /// As device_milliseconds() does. `variant` computes the trial's problem. Throws OutOfMemory, and
  /// WrongResult where a sample (samples_of()) is not expect_alike() to what the reference kernel
  /// kernel makes of it.
  double milliseconds(ConvolutionVariant& variant, double cutoff = std::numeric_limits<double>::infinity());

 private:
  static TrialResult read(const ConvolutionProblem& problem, const ConvolutionArguments& arguments,
                          const Sample& sample);

  const void* weights(WeightLayout layout);
  ConvolutionArguments arguments(const ConvolutionVariant& variant);
  void expect_right(ConvolutionVariant& variant, const ConvolutionArguments& arguments);
  // By the reference kernel. Nothing where there is none.
  std::optional<TrialResult> expected(const Sample& sample);

  ConvolutionProblem problem_;
  std::vector<Sample> samples_;
  DeviceBuffer<std::byte> source_;
  DeviceBuffer<std::byte> krsc_;
  DeviceBuffer<std::byte> crsk_rotated_;  // Once it is asked for.
  DeviceBuffer<float> bias_;
  DeviceBuffer<std::byte> storage_bias_;
  DeviceBuffer<std::byte> destination_;
  DeviceBuffer<std::byte> mask_;
  DeviceBuffer<std::byte> argmax_;
  DeviceBuffer<std::byte> active_;
  Stream stream_;
  std::vector<std::optional<TrialResult>> expected_;  // Of samples_, once something is compared.
};

}  // namespace filterscope::cuda
