// Every graph in which cuDNN computes a convolution, with the plan that the engine would choose, time and
// cache.

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>
#include <memory>
#include <string>
#include <utility>

#include "families.h"
#include "host/cuda/backend.h"
#include "host/cuda/cudnn/graph.h"

namespace filterscope::bench {

namespace {

using cuda::ConvolutionProblem;
using cuda::Direction;
using cuda::MaskFormat;

// Name of the variant that runs the graph.
std::string name_of(const cuda::GraphDescription& graph) {
  return fmt::format("cudnn {} {}{}", to_string(graph.formulation), to_string(graph.epilogue),
                     graph.bias_type == cuda::BiasType::fp32 ? " fp32-bias" : "");
}

Operation make(const ConvolutionProblem& problem, const std::string& graph, CudaDevice& device) {
  // Never destroyed: at exit the device may be gone first.
  static const auto* const backend = new CudaBackend(cuda::make_backend(0, /*reproducible=*/false));
  for (const cuda::ConvolutionSource& source : backend->sources) {
    for (auto& variant : source(problem, cuda::PlanSearch::compiled, {})) {
      if (variant->name().starts_with(graph + " ")) return convolution_operation(std::move(variant), device);
    }
  }
  throw Unavailable("cuDNN has no plan that works");
}

}  // namespace

void add_cudnn_convolutions(const Selection& selection, const std::shared_ptr<CudaDevice>& device) {
  for (const Direction direction : {Direction::fprop, Direction::dgrad}) {
    const auto layers = whole_layers(selection.layers);
    for (auto layer = layers.begin() + 1; layer != layers.end(); ++layer) {
      for (const std::string& precision : selection.precisions) {
        for (const int images : selection.cuda_batches) {
          const bool masked = direction == Direction::fprop ? !layer->pool_after : layer->masked_on_cuda;
          std::map<std::string, ConvolutionProblem> problems;  // By graph; several masks may share one.
          for (const MaskFormat mask : {MaskFormat::none, MaskFormat::activation, MaskFormat::bytes}) {
            if (mask != MaskFormat::none && !masked) continue;
            const ConvolutionProblem problem{.images = images,
                                             .height = layer->map.height,
                                             .width = layer->map.width,
                                             .in_channels = layer->in_channels,
                                             .out_channels = layer->out_channels,
                                             .precision = parse_precision(precision),
                                             .direction = direction,
                                             .mask = mask};
            for (const auto& graph : cuda::graphs_of(problem)) problems.try_emplace(name_of(graph), problem);
          }
          for (const auto& [graph, problem] : problems) {
            std::string variant = graph;
            std::ranges::replace(variant, ' ', '_');
            add(fmt::format("cuda/convolution/{}/{}/{}/{}/batch:{}",
                            direction == Direction::fprop ? "forward" : "input_gradient", layer->name,
                            variant, precision, images),
                device, [=, graph = graph, problem = problem] { return make(problem, graph, *device); });
          }
        }
      }
    }
  }
}

}  // namespace filterscope::bench
