#include "graph_description.h"

#include <fmt/format.h>

namespace filterscope::cuda {

bool has_bias(Epilogue epilogue) {
  return epilogue == Epilogue::bias_relu || epilogue == Epilogue::bias_relu_bytes ||
         epilogue == Epilogue::bias_relu_boolean;
}

std::string_view to_string(Formulation formulation) {
  switch (formulation) {
    case Formulation::fprop:
      return "fprop";
    case Formulation::dgrad:
      return "dgrad";
    case Formulation::rotated_fprop:
      return "rotated_fprop";
  }
  return "";
}

std::string_view to_string(Epilogue epilogue) {
  switch (epilogue) {
    case Epilogue::none:
      return "none";
    case Epilogue::bias_relu:
      return "bias_relu";
    case Epilogue::bias_relu_bytes:
      return "bias_relu_bytes";
    case Epilogue::bias_relu_boolean:
      return "bias_relu_boolean";
    case Epilogue::relu_backward:
      return "relu_backward";
    case Epilogue::bytes_product:
      return "bytes_product";
    case Epilogue::bytes_select:
      return "bytes_select";
    case Epilogue::boolean_select:
      return "boolean_select";
  }
  return "";
}

std::string to_string(const GraphDescription& description) {
  return fmt::format(
      "{} {}{} {} {}x{}x{} {}->{}", to_string(description.formulation), to_string(description.epilogue),
      has_bias(description.epilogue) ? fmt::format(" {}-bias", to_string(description.bias_type)) : "",
      filterscope::to_string(description.precision), description.images, description.height,
      description.width, description.in_channels, description.out_channels);
}

std::vector<GraphDescription> graphs_of(const ConvolutionProblem& problem) {
  using enum Formulation;
  using enum Epilogue;
  GraphDescription graph{.images = problem.images,
                         .height = problem.height,
                         .width = problem.width,
                         .in_channels = problem.in_channels,
                         .out_channels = problem.out_channels,
                         .precision = problem.precision};
  std::vector<GraphDescription> graphs;
  if (problem.pooled) return graphs;
  const bool is_fprop = problem.direction == Direction::fprop;
  const bool half = problem.precision == Precision::bf16 || problem.precision == Precision::fp16;
  const bool fuses = problem.precision != Precision::fp32;
  const bool needs_fusing =
      problem.mask == MaskFormat::bytes || (problem.mask == MaskFormat::activation && !is_fprop);
  if (problem.mask == MaskFormat::bits || (needs_fusing && !fuses)) return graphs;
  if (is_fprop) {
    graph.formulation = fprop;
    graph.epilogue = problem.mask == MaskFormat::bytes ? bias_relu_bytes : bias_relu;
    graphs.push_back(graph);
    // With a bias in the storage type, cuDNN has precompiled kernels; one in fp32 is more exact.
    graph.bias_type = BiasType::fp32;
    if (half) graphs.push_back(graph);
  } else {
    graph.epilogue = problem.mask == MaskFormat::bytes        ? bytes_product
                     : problem.mask == MaskFormat::activation ? relu_backward
                                                              : none;
    for (const Formulation formulation : {dgrad, rotated_fprop}) {
      graph.formulation = formulation;
      graphs.push_back(graph);
    }
  }
  return graphs;
}

}  // namespace filterscope::cuda
