#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <vector>

#include "../error.h"
#include "convolution.h"
#include "runtime.h"

namespace filterscope::cuda {

/// A variant that does not compute its problem.
class WrongResult : public Error {
 public:
  explicit WrongResult(const std::string& message) : Error(ErrorKind::device, message) {}
};

/// Tries variants of one problem on the current device, on random data of the problem's size: what each
/// takes, and whether its result is right. That is no test of a kernel, but a device, a driver or a library
/// that no kernel was tested with must not spoil pictures.
class ConvolutionTrial {
 public:
  /// Throws OutOfMemory.
  explicit ConvolutionTrial(const ConvolutionProblem& problem);

  /// As device_milliseconds() does. `variant` computes the trial's problem. Throws OutOfMemory, and
  /// WrongResult where the first or the last image differs from what the plainest kernel makes of it by more
  /// than roundings explain: 2 % of its norm, 0.1 % in fp32, or 3 % of the bits that are kept of it.
  double milliseconds(ConvolutionVariant& variant, double hopeless = std::numeric_limits<double>::infinity());

 private:
  // Of one image, on the host.
  struct Result {
    std::vector<float> destination;
    std::vector<std::uint8_t> kept;  // Forward: fields of the mask, winners and open.
  };
  static Result read(const ConvolutionProblem& problem, const ConvolutionArguments& arguments, int image);

  const void* weights(WeightLayout layout);
  ConvolutionArguments arguments(const ConvolutionVariant& variant);
  void expect_right(ConvolutionVariant& variant, const ConvolutionArguments& arguments);
  // By the plainest kernel. Nothing where there is none.
  std::optional<Result> expected(int image);

  ConvolutionProblem problem_;
  std::vector<int> looked_at_;  // Images.
  DeviceBuffer<std::byte> source_;
  DeviceBuffer<std::byte> krsc_;
  DeviceBuffer<std::byte> crsk_rotated_;  // Once it is asked for.
  DeviceBuffer<float> bias_;
  DeviceBuffer<std::byte> storage_bias_;
  DeviceBuffer<std::byte> destination_;
  DeviceBuffer<std::byte> gate_;
  DeviceBuffer<std::uint32_t> winners_;
  DeviceBuffer<std::uint32_t> open_;
  Stream stream_;
  std::vector<std::optional<Result>> expected_;  // Of looked_at_, once something is compared.
};

}  // namespace filterscope::cuda
