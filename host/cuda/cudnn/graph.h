#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <memory>
#include <string>
#include <variant>

#include "../convolution.h"
#include "graph_description.h"

struct cudnnContext;

// cuDNN's graphs of a convolution with its fused epilogue, and the plans that cuDNN offers for them. This
// header includes no header of cuDNN. cuDNN is loaded on first use; a device Error is thrown if that fails.

namespace filterscope::cuda {

/// The version of the loaded library, such as "9.19.0".
std::string cudnn_version();

/// A cuDNN handle for the device that is current at construction. Not thread-safe.
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

/// A graph and the plans that cuDNN's heuristics offer for it, best first; if they offer none, those of its
/// fallback. Left out are plans whose results may differ between runs or depend on an image's place in the
/// batch, plans that accumulate in less than fp32, Winograd plans that lose too much accuracy (all in half
/// precision, the 13x13 tile in fp32), and in fp32 those that use tensor cores.
class ConvolutionGraph {
 public:
  /// A present device, by a handle that the graph keeps, or any device, by cuDNN's JSON description of it
  /// (cuDNN 9.8 or later). For the latter, plans can be listed and compiled but not launched.
  using Device = std::variant<std::shared_ptr<const CudnnHandle>, std::string>;
  /// Null if cuDNN has no plan; `refusal`, if given, then says why.
  static std::unique_ptr<ConvolutionGraph> make(const GraphDescription& description, const Device& device,
                                                std::size_t workspace_limit, std::string* refusal = nullptr);
  ~ConvolutionGraph();

  const GraphDescription& description() const;
  int plan_count() const;
  /// cuDNN's engine and the values of its knobs, such as "eng7_k2=0_k5=3".
  const std::string& plan_name(int plan) const;
  /// Whether build() has to compile the plan's kernel, which takes 0.1 to 2 s, and more in the fallback.
  bool compiles(int plan) const;
  /// Prepares the plan for launching. False, with the reason, if that fails.
  bool build(int plan, std::string* reason = nullptr);
  /// The plan must have been built.
  std::size_t workspace_bytes(int plan) const;
  /// The plan must have been built; `handle` is for the same device.
  void launch(int plan, const CudnnHandle& handle, const ConvolutionArguments& arguments,
              cudaStream_t stream);

 private:
  struct State;
  explicit ConvolutionGraph(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace filterscope::cuda
