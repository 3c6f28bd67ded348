#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "../run/precision.h"
#include "kernels/relu/mask_format.h"

// A 3x3 convolution (stride 1, zero padding 1) of the network on a CUDA device, independent of the library
// that computes it. Maps are NHWC without gaps. Their element, the storage type, is fp32 for Precision::fp32
// and tf32, and bf16 or fp16 for those precisions. All accumulate in fp32.

namespace filterscope::cuda {

enum class Direction {
  fprop,  ///< relu(convolution of the map below + bias).
  dgrad,  ///< Gradient of this layer's pre-activation -> gradient of the map below, times its mask.
};

using kernels::MaskFormat;

enum class WeightLayout {
  krsc,          ///< [out_channels, 3, 3, in_channels], as the layer applies them.
  crsk_rotated,  ///< [in_channels, 3, 3, out_channels], element (c, r, s, k) being krsc's (k, 2-r, 2-s, c):
                 ///< the filter of a fprop that computes the dgrad.
};

/// The type of the bias as it is added.
enum class BiasType { fp32, storage };

std::string_view to_string(Direction direction);
std::string_view to_string(WeightLayout layout);
std::string_view to_string(BiasType type);

struct ConvolutionProblem {
  int images = 0;
  int height = 0;  ///< Height of the map; input and output have the same extent.
  int width = 0;
  int in_channels = 0;  ///< The layer's, in both directions.
  int out_channels = 0;
  Precision precision = Precision::fp32;  ///< Not automatic.
  Direction direction = Direction::fprop;
  /// Fprop: the mask that is also written (`activation`: none but the output itself). Dgrad: the mask that
  /// the result is multiplied with; it belongs to the map below and has in_channels.
  MaskFormat mask = MaskFormat::none;
  /// The problem includes a 2x2 max-pool of stride 2 after the layer. Fprop: the destination is the pool's
  /// output. Dgrad: the source is the gradient of the pool's output.
  bool pooled = false;

  bool operator==(const ConvolutionProblem&) const = default;
  /// Channels of source and destination in this direction.
  int source_channels() const { return direction == Direction::fprop ? in_channels : out_channels; }
  int destination_channels() const { return direction == Direction::fprop ? out_channels : in_channels; }
  /// Elements of a map, of a pooled map, of the source and of the destination.
  std::size_t map_size(int channels) const;
  std::size_t pooled_size(int channels) const;
  std::size_t source_size() const;
  std::size_t destination_size() const;
};
/// Such as "fprop bf16 64x96x96 64->128 bytes": unique, for keys and messages.
std::string to_string(const ConvolutionProblem& problem);

/// Bytes of one element of a map.
std::size_t storage_bytes(Precision precision);
/// Bytes of a mask over `channels` channels of the problem's map; 0 for MaskFormat::none. For `activation`,
/// those of the map itself.
std::size_t mask_bytes(const ConvolutionProblem& problem, int channels);

/// Device memory of one convolution. Pointers are aligned to 16 bytes, the workspace to 256. What is written
/// must not overlap anything else.
struct ConvolutionArguments {
  const void* source = nullptr;   ///< [images, height, width, source_channels()]; for a pool's output, half
                                  ///< the height and width, rounded down.
  const void* weights = nullptr;  ///< As ConvolutionVariant::weight_layout() says, in the storage type.
  const void* bias = nullptr;   ///< Fprop: [out_channels], in the type ConvolutionVariant::bias_type() says.
  void* destination = nullptr;  ///< As source, with destination_channels().
  void* mask_out = nullptr;     ///< Fprop with bits or bytes.
  const void* mask_in = nullptr;  ///< Dgrad with bits, bytes or activation.
  void* workspace = nullptr;      ///< ConvolutionVariant::workspace_bytes(); may be null if that is 0.
  /// Pooled: as in kernels::MaxPoolArguments; fprop writes them.
  std::uint32_t* argmax = nullptr;
  std::uint32_t* active = nullptr;
  void* map = nullptr;  ///< Pooled, if the variant needs_map(): [images, height, width, out_channels].
};

/// How far a source of variants may go to find good ones; each level includes those before it.
enum class PlanSearch {
  untimed,     ///< No timing: the same variants in every run.
  known,       ///< Uses what earlier calls and runs have timed.
  ready_made,  ///< Times kernels that need no compiling.
  compiled,    ///< Also compiles kernels to time them, 0.1 to 2 s each.
};

/// Whether there is time to time or compile another kernel. Called before each.
using TimingBudget = std::function<bool()>;

/// One way to compute one problem. Variants of a problem differ in speed, workspace and rounding.
class ConvolutionVariant {
 public:
  virtual ~ConvolutionVariant() = default;
  /// Library and kernel, such as "cudnn rotated_fprop none eng7_k2=0_k5=3". On one kind of device with one
  /// version of the libraries, the same name computes the same bits.
  virtual std::string name() const = 0;
  virtual const ConvolutionProblem& problem() const = 0;
  virtual WeightLayout weight_layout() const = 0;
  virtual BiasType bias_type() const = 0;  ///< For fprop only.
  virtual std::size_t workspace_bytes() const = 0;
  /// Pooled: whether the map before the pool, or its gradient, goes through ConvolutionArguments::map. Source
  /// and destination may then be the same memory.
  virtual bool needs_map() const { return false; }
  /// Time that every process spends on compiling before the first launch.
  virtual double setup_seconds() const { return 0; }
  /// Prepares the first launch; must not be called while a stream is captured. False if the variant turns out
  /// not to be available for this problem. workspace_bytes() and launch() prepare it too, but throw then.
  virtual bool make_ready() { return true; }
  /// Enqueues the work on `stream`, which may be captured into a CUDA graph. Allocates nothing. Throws a
  /// device Error if the device or a library refuses.
  virtual void launch(const ConvolutionArguments& arguments, cudaStream_t stream) = 0;
};

}  // namespace filterscope::cuda
