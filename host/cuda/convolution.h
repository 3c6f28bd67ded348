#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "../run/precision.h"
#include "kernels/relu/mask_format.h"

// One 3x3 convolution (stride 1, zero padding 1) of the network on a CUDA device, whoever computes it. Maps
// are NHWC without gaps; their element, the storage type, is fp32 for Precision::fp32 and tf32, bf16 and fp16
// for those. Sums are fp32 everywhere.

namespace filterscope::cuda {

enum class Direction {
  fprop,  ///< relu(convolution of the map below + bias).
  dgrad,  ///< Gradient of this layer's pre-activation -> gradient of the map below, times its mask.
};

using kernels::MaskFormat;

enum class WeightLayout {
  krsc,          ///< [out_channels, 3, 3, in_channels], as the layer applies them.
  crsk_rotated,  ///< [in_channels, 3, 3, out_channels], element (c, r, s, k) being krsc's (k, 2-r, 2-s, c):
                 ///< the filter of a forward convolution that computes the dgrad.
};

/// Of the bias, where it is added.
enum class BiasType { fp32, storage };

std::string_view to_string(Direction direction);
std::string_view to_string(WeightLayout layout);
std::string_view to_string(BiasType type);

struct ConvolutionProblem {
  int images = 0;
  int height = 0;  ///< Of the map, the same on both sides.
  int width = 0;
  int in_channels = 0;  ///< Of the layer, whichever the direction.
  int out_channels = 0;
  Precision precision = Precision::fp32;  ///< Not automatic.
  Direction direction = Direction::fprop;
  /// Fprop: what is also written about the output (with `activation` nothing beside the output itself).
  /// Dgrad: what the result is multiplied with; of the map below, so over in_channels.
  MaskFormat mask = MaskFormat::none;
  /// A 2x2 max-pool of stride 2 follows the layer and is a part of the problem. Fprop: the result is the
  /// pool's output. Dgrad: what is given is the gradient of the pool's output.
  bool pooled = false;

  bool operator==(const ConvolutionProblem&) const = default;
  /// Channels of what is read and written in this direction.
  int source_channels() const { return direction == Direction::fprop ? in_channels : out_channels; }
  int destination_channels() const { return direction == Direction::fprop ? out_channels : in_channels; }
  /// Elements of the map, of what is read and of what is written.
  std::size_t map_size(int channels) const;
  std::size_t pooled_size(int channels) const;
  std::size_t source_size() const;
  std::size_t destination_size() const;
};
/// Such as "fprop bf16 64x96x96 64->128 bytes": unique, for keys and messages.
std::string to_string(const ConvolutionProblem& problem);

/// Bytes of one element of a map.
std::size_t storage_bytes(Precision precision);
/// Bytes of a mask over `channels` channels of the problem's map; 0 for none. `activation` counts the map
/// itself.
std::size_t mask_bytes(const ConvolutionProblem& problem, int channels);

/// Device memory of one convolution. Every pointer is aligned to 16 bytes, the workspace to 256. None may
/// overlap another that is written.
struct ConvolutionArguments {
  const void* source = nullptr;   ///< [images, height, width, source_channels()]; of a pool's output half of
                                  ///< both, rounded down.
  const void* weights = nullptr;  ///< As ConvolutionVariant::weight_layout() says, in the storage type.
  const void* bias = nullptr;   ///< Fprop: [out_channels], in the type ConvolutionVariant::bias_type() says.
  void* destination = nullptr;  ///< [images, height, width, destination_channels()]; so, too.
  void* mask_out = nullptr;     ///< Fprop with bits or bytes.
  const void* mask_in = nullptr;  ///< Dgrad with bits, bytes or activation.
  void* workspace = nullptr;      ///< ConvolutionVariant::workspace_bytes(); may be null if that is 0.
  /// Pooled: what kernels::MaxPoolArguments has of these names; forward writes it.
  std::uint32_t* argmax = nullptr;
  std::uint32_t* active = nullptr;
  void* map = nullptr;  ///< Pooled, if the variant needs_map(): [images, height, width, out_channels].
};

/// How far whoever offers variants may go to find good ones; each level includes those before it.
enum class PlanSearch {
  untimed,     ///< No timing at all: the same variants in every run.
  known,       ///< What earlier calls and runs have timed.
  ready_made,  ///< Times what can be launched as it is.
  compiled,    ///< Also compiles kernels to time them, 0.1 to 2 s each.
};

/// Asked before anything is timed or compiled, and again before the next: whether there is time for it.
using TimingBudget = std::function<bool()>;

/// One way to compute one problem, ready to run. Variants of a problem differ in speed, workspace and
/// rounding.
class ConvolutionVariant {
 public:
  virtual ~ConvolutionVariant() = default;
  /// Who computes it and how, such as "cudnn fprop-rotated eng7_k2=0_k5=3": the same name computes the same
  /// bits on one kind of device with one version of the libraries.
  virtual std::string name() const = 0;
  virtual const ConvolutionProblem& problem() const = 0;
  virtual WeightLayout weight_layout() const = 0;
  virtual BiasType bias_type() const = 0;  ///< Means something forward only.
  virtual std::size_t workspace_bytes() const = 0;
  /// Pooled: whether the map before the pool, or its gradient, goes through memory. ConvolutionArguments has
  /// room for it then, and source and destination may be the same memory.
  virtual bool needs_map() const { return false; }
  /// What every process spends before the first launch and other variants do not: compiling.
  virtual double setup_seconds() const { return 0; }
  /// Makes it ready to be launched, which must not be while a stream is captured. False if it cannot be had
  /// for this problem after all. Asking for the workspace and launching do so, too, and throw then.
  virtual bool make_ready() { return true; }
  /// Enqueues the work on `stream`; it can be captured into a CUDA graph. Allocates nothing. What the device
  /// or a library refuses is a device Error.
  virtual void launch(const ConvolutionArguments& arguments, cudaStream_t stream) = 0;
};

}  // namespace filterscope::cuda
