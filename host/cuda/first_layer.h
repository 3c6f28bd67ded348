#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "../run/precision.h"
#include "convolution.h"
#include "kernels/first_layer/dgrad.h"
#include "kernels/first_layer/fprop.h"
#include "plan/trial_result.h"
#include "runtime.h"

// The first layer has kernels of its own: forward the first convolution, from the images, and backward the
// last gradient, which is that of the images.

namespace filterscope::cuda {

struct FirstLayerProblem {
  Direction direction = Direction::fprop;
  int images = 0;
  int height = 0;
  int width = 0;
  int channels = 0;                       ///< Of the first convolution's output.
  Precision precision = Precision::fp32;  ///< Not automatic.

  bool operator==(const FirstLayerProblem&) const = default;
  /// Elements of the first convolution's output, and of the images.
  std::size_t map_size() const { return static_cast<std::size_t>(images) * height * width * channels; }
  std::size_t images_size() const { return static_cast<std::size_t>(images) * height * width * 3; }
};
/// Such as "first-layer fprop fp16 512x96x96 3->64": unique, for keys and messages.
std::string to_string(const FirstLayerProblem& problem);

/// Names of the kernels that compute it, the one to take untimed first. The last is the reference.
std::vector<std::string> first_layer_kernels(const FirstLayerProblem& problem);

/// The kernel of a name that first_layer_kernels() gives.
template <class T>
const kernels::FirstLayerFpropKernel<T>& first_layer_fprop_kernel(std::string_view name);
template <class T>
const kernels::FirstLayerDgradKernel<T>& first_layer_dgrad_kernel(std::string_view name);

/// Tries kernels of one problem on the current device, as ConvolutionTrial does.
class FirstLayerTrial {
 public:
  /// Throws OutOfMemory.
  explicit FirstLayerTrial(const FirstLayerProblem& problem);
  virtual ~FirstLayerTrial() = default;
  FirstLayerTrial(const FirstLayerTrial&) = delete;
  FirstLayerTrial& operator=(const FirstLayerTrial&) = delete;

  /// As device_milliseconds() does. Throws WrongResult where a sample (samples_of()) is not expect_alike() to
  /// what the reference kernel makes of it.
  double milliseconds(std::string_view kernel, double cutoff = std::numeric_limits<double>::infinity());

 protected:
  /// Of the images from number `first` on, into their own places. Virtual for what makes mistakes.
  virtual void launch(std::string_view kernel, int first, int count);

 private:
  void expect_right(std::string_view kernel);
  void poison();
  TrialResult read(const Sample& sample) const;

  FirstLayerProblem problem_;
  std::vector<Sample> samples_;
  DeviceBuffer<std::byte> map_;      // The first convolution's output or its gradient, in the storage type.
  DeviceBuffer<std::byte> images_;   // fp32: images or their gradients.
  DeviceBuffer<std::byte> weights_;  // fp32, as are those below.
  DeviceBuffer<std::byte> bias_;
  DeviceBuffer<std::byte> factors_;
  DeviceBuffer<float> squares_;
  DeviceBuffer<std::byte> mask_;
  Stream stream_;
  std::vector<TrialResult> expected_;  // Of samples_, once something is compared.
};

}  // namespace filterscope::cuda
