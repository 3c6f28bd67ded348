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

// The first layer has its own kernels: its fprop reads the images, its dgrad is the gradient of the images.

namespace filterscope::cuda {

struct FirstLayerProblem {
  Direction direction = Direction::fprop;
  int images = 0;
  int height = 0;
  int width = 0;
  int channels = 0;                       ///< Output channels of the layer.
  Precision precision = Precision::fp32;  ///< Not automatic.

  bool operator==(const FirstLayerProblem&) const = default;
  /// Elements of the layer's output and of the images.
  std::size_t map_size() const { return static_cast<std::size_t>(images) * height * width * channels; }
  std::size_t images_size() const { return static_cast<std::size_t>(images) * height * width * 3; }
};
/// Such as "first-layer fprop fp16 512x96x96 3->64": unique, for keys and messages.
std::string to_string(const FirstLayerProblem& problem);

/// Names of the kernels that compute `problem`, the one to use without timing first, the reference last.
std::vector<std::string> first_layer_kernels(const FirstLayerProblem& problem);

/// The kernel with a name from first_layer_kernels().
template <class T>
const kernels::FirstLayerFpropKernel<T>& first_layer_fprop_kernel(std::string_view name);
template <class T>
const kernels::FirstLayerDgradKernel<T>& first_layer_dgrad_kernel(std::string_view name);

/// Times and checks kernels of one problem on the current device, as ConvolutionTrial does.
class FirstLayerTrial {
 public:
  /// Throws OutOfMemory.
  explicit FirstLayerTrial(const FirstLayerProblem& problem);
  virtual ~FirstLayerTrial() = default;
  FirstLayerTrial(const FirstLayerTrial&) = delete;
  FirstLayerTrial& operator=(const FirstLayerTrial&) = delete;

  /// device_milliseconds() of `kernel`. Throws WrongResult if a sample (samples_of()) differs from the
  /// reference kernel's by more than expect_alike() allows.
  double milliseconds(std::string_view kernel, double cutoff = std::numeric_limits<double>::infinity());

 protected:
  /// Computes `count` images from number `first` on, in place. Virtual so that tests can make mistakes.
  virtual void launch(std::string_view kernel, int first, int count);

 private:
  void expect_right(std::string_view kernel);
  void poison();
  TrialResult read(const Sample& sample) const;

  FirstLayerProblem problem_;
  std::vector<Sample> samples_;
  DeviceBuffer<std::byte> map_;      // The layer's output or its gradient, in the storage type.
  DeviceBuffer<std::byte> images_;   // fp32: the images or their gradients.
  DeviceBuffer<std::byte> weights_;  // fp32, as are the next three.
  DeviceBuffer<std::byte> bias_;
  DeviceBuffer<std::byte> factors_;
  DeviceBuffer<float> squares_;
  DeviceBuffer<std::byte> mask_;
  Stream stream_;
  std::vector<TrialResult> expected_;  // For samples_, from the first comparison on.
};

}  // namespace filterscope::cuda
