#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "../convolution.h"

struct cudnnContext;

// cuDNN's graphs of a convolution with what is fused into it, and the plans that cuDNN offers for them. This
// header needs no header of cuDNN. cuDNN is loaded when it is first used; where that fails, it is a device
// Error.

namespace filterscope::cuda {

/// Of the library that is loaded, such as "9.19.0".
std::string cudnn_version();

/// A cuDNN handle on the device that is current at construction. For one thread at a time.
class CudnnHandle {
 public:
  CudnnHandle();
  ~CudnnHandle();
  CudnnHandle(const CudnnHandle&) = delete;
  CudnnHandle& operator=(const CudnnHandle&) = delete;
  cudnnContext* get() const { return handle_; }

 private:
  cudnnContext* handle_ = nullptr;
};

/// What a graph's convolution node is.
enum class Formulation {
  fprop,          ///< fprop of the map below
  dgrad,          ///< dgrad of the map above
  rotated_fprop,  ///< The same as a fprop, of the map above with WeightLayout::crsk_rotated
};

/// What is fused behind it.
enum class Epilogue {
  none,
  bias_relu,
  bias_relu_bytes,    ///< and the mask as INT8
  bias_relu_boolean,  ///< and the mask as BOOLEAN
  relu_backward,      ///< RELU_BWD with an activation in the storage type
  bytes_product,      ///< MUL with a mask as INT8
  bytes_select,       ///< BINARY_SELECT between the result and 0 by a mask as INT8
  boolean_select,     ///< and as BOOLEAN
};

std::string_view to_string(Formulation formulation);
std::string_view to_string(Epilogue epilogue);

struct GraphDescription {
  int images = 0;
  int height = 0;  ///< Of the map, the same on both sides.
  int width = 0;
  int in_channels = 0;  ///< Of the layer, whichever the formulation.
  int out_channels = 0;
  Precision precision = Precision::fp32;  ///< Not automatic.
  Formulation formulation = Formulation::fprop;
  Epilogue epilogue = Epilogue::none;
  BiasType bias_type = BiasType::storage;  ///< With a bias.

  int source_channels() const { return formulation == Formulation::fprop ? in_channels : out_channels; }
  int destination_channels() const { return formulation == Formulation::fprop ? out_channels : in_channels; }
};
/// Such as "fprop bias_relu_bytes storage-bias bf16 64x96x96 64->128": unique, for keys and messages.
std::string to_string(const GraphDescription& description);

/// The graphs that compute `problem`, cuDNN's own formulation of it first. None for MaskFormat::bits, nor in
/// fp32 where more than bias and ReLU would be fused: what cuDNN has there is one slow kernel that takes
/// seconds to compile.
std::vector<GraphDescription> graphs_of(const ConvolutionProblem& problem);

/// A graph and the plans that cuDNN's heuristics offer for it, best first; its
/// fallback only where they offer none. Left out are plans whose results may differ
/// from run to run or with an image's place in the batch, plans that sum in less than fp32, Winograd plans
/// that lose more than the precision promises (all in half precision, the 13x13 tile in fp32), and in fp32
/// those that use tensor cores.
class ConvolutionGraph {
 public:
  /// A device that is here, by a handle, which the graph keeps; or one that need not be, by cuDNN's
  /// description of it (JSON; cuDNN 9.8 or newer): what it would be offered can be seen, and compiled, but
  /// not launched.
  using Device = std::variant<std::shared_ptr<const CudnnHandle>, std::string>;
  /// None if cuDNN has no plan; `refusal`, if given, then says why.
  static std::unique_ptr<ConvolutionGraph> make(const GraphDescription& description, const Device& device,
                                                std::size_t workspace_limit, std::string* refusal = nullptr);
  ~ConvolutionGraph();

  const GraphDescription& description() const;
  int plan_count() const;
  /// cuDNN's engine and the values of its knobs, such as "eng7_k2=0_k5=3".
  const std::string& plan_name(int plan) const;
  /// Whether build() has to compile the plan's kernel, which takes 0.1 to 2 s, and more in the fallback.
  bool compiles(int plan) const;
  /// Makes the plan ready. False, with the reason, if that fails.
  bool build(int plan, std::string* reason = nullptr);
  /// Of a plan that is built.
  std::size_t workspace_bytes(int plan) const;
  /// Of a plan that is built, with a handle of the same device.
  void launch(int plan, const CudnnHandle& handle, const ConvolutionArguments& arguments,
              cudaStream_t stream);

 private:
  struct State;
  explicit ConvolutionGraph(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

/// How many of a graph's plans are worth timing.
struct PlanLimits {
  int precompiled = 6;  ///< Of those that come with cuDNN.
  int compiled = 2;     ///< Of those that have to be compiled.
};
struct TimedPlan {
  int plan = -1;  ///< None.
  double milliseconds = std::numeric_limits<double>::infinity();
};
/// The plan for which `time` gives least. It is asked, with the best so far, to build and time one plan after
/// another, the likely ones first, and says infinity for one that does not work.
TimedPlan fastest_plan(const ConvolutionGraph& graph, const PlanLimits& limits,
                       const std::function<double(int plan, const TimedPlan& best)>& time);

}  // namespace filterscope::cuda
