#pragma once

#include <cstddef>
#include <dnnl.hpp>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "../network.h"
#include "../weights.h"

namespace filterscope::cpu {

/// Which way a convolution of the network is run.
enum class Pass {
  forward,   ///< Map below -> this layer's map, with bias and ReLU.
  backward,  ///< Gradient of this layer's pre-activation -> gradient of its input.
};
std::string_view to_string(Pass pass);

/// How it is computed.
struct Algorithm {
  bool winograd = false;
  /// A backward pass as a forward convolution with the kernel rotated by 180 degrees and its channels
  /// transposed; always true for a forward pass.
  bool as_forward = true;

  bool operator==(const Algorithm&) const = default;
};
std::string to_string(const Algorithm& algorithm);

/// One convolution of one layer over a fixed number of images.
struct ConvolutionShape {
  int in_channels;  ///< Of the layer, whichever the pass.
  int out_channels;
  Extent extent;  ///< Height and width of the layer's map, the same on both sides.
  int images;
  int in_block;   ///< Channel block of the map on the layer's input side (MapShape::block); 0: planar NCHW.
  int out_block;  ///< Channel block of the layer's own map.
};

/// Whether this oneDNN still has Winograd kernels (later releases of version 3 dropped them on x86).
bool onednn_has_winograd();
std::string onednn_version();

class WeightStore;

/// A oneDNN convolution ready to run: primitive, transformed weights, and room for arguments, so that
/// execute() allocates nothing.
class ConvolutionKernel {
 public:
  /// None if oneDNN has no such kernel for the shape.
  static std::unique_ptr<ConvolutionKernel> make(const dnnl::engine& engine, const ConvolutionShape& shape,
                                                 Pass pass, Algorithm algorithm, const LayerWeights& weights,
                                                 WeightStore& store);
  /// The same with made-up weights, for timing: transforming real ones takes longer than the timing does.
  static std::unique_ptr<ConvolutionKernel> make_for_timing(const dnnl::engine& engine,
                                                            const ConvolutionShape& shape, Pass pass,
                                                            Algorithm algorithm);

  /// `source` and `destination`: images one after another in the shape's layouts (source is the layer's input
  /// side in a forward pass, its output side in a backward pass). `scratch`: at least scratch_bytes(),
  /// 64-byte aligned.
  void execute(const dnnl::stream& stream, const float* source, float* destination, std::byte* scratch);

  std::size_t scratch_bytes() const { return scratch_bytes_; }
  /// The algorithm and oneDNN's name of the kernel, such as "winograd jit_wino_4x3:avx512_core".
  const std::string& name() const { return name_; }
  /// oneDNN's plain loops, hundreds of times slower than its kernels.
  bool is_reference() const { return name_.find("ref:") != std::string::npos; }

 private:
  ConvolutionKernel() = default;

  // A kernel without weights yet; `weight_form` is what it wants. None if oneDNN has no such kernel.
  static std::unique_ptr<ConvolutionKernel> make_bare(const dnnl::engine& engine,
                                                      const ConvolutionShape& shape, Pass pass,
                                                      Algorithm algorithm, dnnl::memory::desc& weight_form);
  void bind(std::shared_ptr<dnnl::memory> weights, const float* bias);

  dnnl::primitive primitive_;
  std::shared_ptr<dnnl::memory> weights_;
  dnnl::memory bias_;  // empty in a backward pass
  std::vector<float> timing_bias_;
  dnnl::memory source_;
  dnnl::memory destination_;
  dnnl::memory scratch_;
  bool backward_primitive_ = false;
  std::vector<dnnl_exec_arg_t> arguments_;
  std::size_t scratch_bytes_ = 0;
  std::string name_;
};

/// Transformed weights, shared by the kernels (batch sizes, algorithms) that want the same form of the same
/// layer and pass for as long as one of them lives.
class WeightStore {
 public:
  std::shared_ptr<dnnl::memory> get(const dnnl::engine& engine, const LayerWeights& weights, int in_channels,
                                    int out_channels, bool rotated, const dnnl::memory::desc& wanted);

 private:
  struct Entry {
    const LayerWeights* weights;
    bool rotated;
    dnnl::memory::desc form;
    std::weak_ptr<dnnl::memory> memory;
  };
  std::vector<Entry> entries_;
};

}  // namespace filterscope::cpu
