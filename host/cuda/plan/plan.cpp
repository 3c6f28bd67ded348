#include "plan.h"

#include <fmt/format.h>

#include <algorithm>

#include "../../base/text.h"

namespace filterscope::cuda {

std::size_t Plan::workspace_bytes() const {
  std::size_t bytes = 0;
  for (const Layer& layer : layers) {
    if (layer.fprop) bytes = std::max(bytes, layer.fprop->workspace_bytes());
    if (layer.dgrad) bytes = std::max(bytes, layer.dgrad->workspace_bytes());
  }
  return bytes;
}

std::string Plan::describe(const Network& network) const {
  std::string targets;
  for (int layer = 0; layer <= layout.deepest_layer(); ++layer) {
    if (layout.targeting(layer) == 0) continue;
    targets += fmt::format("{}{} of {}", targets.empty() ? "" : ", ", layout.targeting(layer),
                           network.convolutions[layer].name);
  }
  std::string text = fmt::format("{}, batch of {}", size_text(image), targets);
  for (std::size_t layer = 0; layer < layers.size(); ++layer) {
    const Layer& plan = layers[layer];
    if (layer == 0 && !first_layer_fprop.empty()) {
      text += fmt::format("; {}: forward {}, gradient {}, mask {}", network.convolutions[layer].name,
                          first_layer_fprop, first_layer_dgrad, to_string(plan.mask));
    }
    if (!plan.fprop && !plan.dgrad) continue;
    text += fmt::format("; {}: forward {}, gradient {}, mask {}", network.convolutions[layer].name,
                        plan.fprop->name(), plan.dgrad->name(), to_string(plan.mask));
  }
  return text;
}

}  // namespace filterscope::cuda
