#include "host/cpu/convolution.h"

#include <memory>
#include <vector>

#include "convolution_check.h"
#include "families.h"
#include "host/base/threads.h"
#include "host/cpu/plan.h"

namespace filterscope::bench {

namespace {

using namespace cpu;

// One set of buffers of a forward pass or of a dgrad.
struct Buffers {
  AlignedBuffer<float> from;
  AlignedBuffer<float> to;
  AlignedBuffer<std::uint8_t> masks;   // Forward: written. dgrad: the input's, read. Empty: none.
  AlignedBuffer<std::uint8_t> argmax;  // Forward: written. dgrad: read. Empty: no pool.
  std::shared_ptr<const TransformedWeights> weights;
  std::unique_ptr<WinogradConvolution> convolution;
};

Operation make(const Layer& layer, Pass pass, int tile, const Kernels& table, int images, CpuDevice& device) {
  struct State {
    LayerWeights weights;
    std::vector<Buffers> sets;
    Workspace workspace;
  };
  const bool forward = pass == Pass::forward;
  const MapShape below{layer.in_channels, layer.map.height, layer.map.width};
  const MapShape map{layer.out_channels, layer.map.height, layer.map.width};
  const MapShape above = layer.pool_after ? map.pooled() : map;
  const MapShape& in = forward ? below : above;
  const MapShape& out = forward ? above : below;
  const bool masked = forward ? !layer.pool_after : layer.relu_below;
  const Tiling tiling = make_tiling(tile, below, map, images);
  const TileGrid grid{tile, map.height, map.width};

  const std::size_t weight_floats =
      std::size_t(grid.points()) * below.blocks() * map.blocks() * kLanes * kLanes;
  const std::size_t mask_bytes = masked ? (forward ? map : below).size() * images / 8 : 0;
  const std::size_t argmax_bytes = layer.pool_after ? above.size() * images : 0;
  const std::size_t bytes =
      (weight_floats + (in.size() + out.size()) * images) * sizeof(float) + mask_bytes + argmax_bytes;

  const auto state = std::make_shared<State>();
  state->weights = random_weights(layer, 1);
  state->sets.resize(device.sets(bytes));
  for (std::size_t i = 0; i < state->sets.size(); ++i) {
    Buffers& set = state->sets[i];
    set.from = random_maps(in, images, 10 + i);
    set.to = poisoned(out.size() * images);
    set.masks = random_bytes(mask_bytes, 20 + i);
    set.argmax = random_bytes(argmax_bytes, 30 + i, 5);
    set.weights = std::make_shared<TransformedWeights>(state->weights, layer.in_channels, layer.out_channels,
                                                       pass, tile, table);
    set.convolution = std::make_unique<WinogradConvolution>(forward ? below : map, forward ? map : below,
                                                            tiling, set.weights, table);
    set.convolution->reserve(state->workspace, thread_count());
  }

  const double products = 2. * kLanes * kLanes * below.blocks() * map.blocks() * grid.points();
  Operation operation{
      .work = {.operations = layer.operations(images),
               .bytes = static_cast<double>(bytes),
               .winograd_operations = products * grid.per_map() * images},
      .ceilings = device.ceilings(table.name),
      .sets = static_cast<int>(state->sets.size()),
      .run =
          [=, pooled = layer.pool_after](int number) {
            Buffers& set = state->sets[number];
            std::uint8_t* const masks = masked ? set.masks.data() : nullptr;
            if (forward && pooled) {
              set.convolution->forward_pool(images, set.from.data(), set.to.data(), set.argmax.data(),
                                            state->workspace);
            } else if (forward) {
              set.convolution->forward(images, set.from.data(), set.to.data(), masks, state->workspace);
            } else if (pooled) {
              set.convolution->backward_pool(images, set.from.data(), set.argmax.data(), set.to.data(), masks,
                                             state->workspace);
            } else {
              set.convolution->backward(images, set.from.data(), set.to.data(), masks, state->workspace);
            }
          },
      .check =
          [=] {
            const Buffers& set = state->sets[0];
            const std::uint8_t* const masks = masked ? set.masks.data() : nullptr;
            const std::uint8_t* const argmax = layer.pool_after ? set.argmax.data() : nullptr;
            return forward ? check_forward({layer, state->weights, images, set.from.data(), set.to.data(),
                                            masks, argmax, tile})
                           : check_dgrad({layer, state->weights, images, set.from.data(), argmax, masks,
                                          set.to.data(), tile});
          },
      .label = fmt::format("{} tiles{}", tiling.slots, tiling.shared ? ", shared" : "")};
  return operation;
}

}  // namespace

void add_cpu_convolutions(const Selection& selection, const std::shared_ptr<CpuDevice>& device) {
  const KernelTables tables = kernel_tables();
  for (const auto& [pass, direction] :
       {std::pair{Pass::forward, "forward"}, {Pass::backward, "input_gradient"}}) {
    for (const Layer& layer : whole_layers(selection.layers)) {
      for (const int images : selection.cpu_batches) {
        for (const int tile : {2, 4, 6}) {
          for (int i = 0; i < tables.count; ++i) {
            const Kernels& table = *tables.tables[i];
            add(fmt::format("cpu/convolution/{}/{}/F{}/{}/batch:{}", direction, layer.name, tile, table.name,
                            images),
                device, [=, pass = pass, &table] { return make(layer, pass, tile, table, images, *device); });
          }
        }
      }
    }
  }
}

}  // namespace filterscope::bench
