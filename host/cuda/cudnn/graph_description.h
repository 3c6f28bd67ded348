#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "../convolution.h"

namespace filterscope::cuda {

/// The convolution node of a graph.
enum class Formulation {
  fprop,          ///< A fprop of the map below.
  dgrad,          ///< A dgrad of the map above.
  rotated_fprop,  ///< The dgrad as a fprop of the map above with WeightLayout::crsk_rotated.
};

/// What is fused after the convolution.
enum class Epilogue {
  none,
  bias_relu,
  bias_relu_bytes,    ///< Also writes the mask as INT8.
  bias_relu_boolean,  ///< Also writes the mask as BOOLEAN.
  relu_backward,      ///< RELU_BWD with an activation in the storage type.
  bytes_product,      ///< MUL with a mask as INT8.
  bytes_select,       ///< BINARY_SELECT between the result and 0 by a mask as INT8.
  boolean_select,     ///< The same with a mask as BOOLEAN.
};

bool has_bias(Epilogue epilogue);
std::string_view to_string(Formulation formulation);
std::string_view to_string(Epilogue epilogue);

struct GraphDescription {
  int images = 0;
  int height = 0;  ///< Height of the map; input and output have the same extent.
  int width = 0;
  int in_channels = 0;  ///< The layer's, in every formulation.
  int out_channels = 0;
  Precision precision = Precision::fp32;  ///< Not automatic.
  Formulation formulation = Formulation::fprop;
  Epilogue epilogue = Epilogue::none;
  BiasType bias_type = BiasType::storage;  ///< If the epilogue has a bias.

  int source_channels() const { return formulation == Formulation::fprop ? in_channels : out_channels; }
  int destination_channels() const { return formulation == Formulation::fprop ? out_channels : in_channels; }
};
/// Such as "fprop bias_relu_bytes storage-bias bf16 64x96x96 64->128": unique, for keys and messages.
std::string to_string(const GraphDescription& description);

/// The graphs that compute `problem`, cuDNN's own formulation first. There are none for MaskFormat::bits, nor
/// in fp32 if more than bias and ReLU would be fused: cuDNN's only kernel for that is slow and takes seconds
/// to compile.
std::vector<GraphDescription> graphs_of(const ConvolutionProblem& problem);

}  // namespace filterscope::cuda
