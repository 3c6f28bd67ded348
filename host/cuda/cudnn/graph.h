#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <memory>
#include <string>
#include <variant>

#include "../convolution.h"
#include "graph_description.h"

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

}  // namespace filterscope::cuda
