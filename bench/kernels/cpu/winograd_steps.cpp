// The benchmarks of winograd_steps.h, and those of the steps that do not transform maps.

#include "winograd_steps.h"

#include <memory>
#include <vector>

#include "../check.h"
#include "convolution_check.h"
#include "families.h"
#include "winograd.h"

namespace filterscope::bench {

namespace {

using namespace cpu;

Operation multiply(const StepContext& context) {
  struct State {
    struct Set {
      AlignedBuffer<float> inputs, weights, products;
    };
    LayerTiles tiles;
    std::vector<Set> sets;
  };
  const auto state =
      std::make_shared<State>(State{LayerTiles(context.layer, context.tile, context.images), {}});
  const LayerTiles& tiles = state->tiles;
  const int points = tiles.grid().points();
  const int in_blocks = tiles.below().blocks();
  const int out_blocks = tiles.map().blocks();
  const std::size_t matrix =
      std::size_t(in_blocks) * out_blocks * kLanes * kLanes;  // The weights of a point.
  const std::size_t bytes =
      (tile_floats(tiles, in_blocks) + tile_floats(tiles, out_blocks) + matrix * points) * sizeof(float);
  state->sets.resize(context.device.sets(bytes));
  for (std::size_t i = 0; i < state->sets.size(); ++i) {
    state->sets[i] = {random_floats(tiles.floats(in_blocks), 10 + i), random_floats(matrix * points, 20 + i),
                      poisoned(tiles.floats(out_blocks))};
  }
  const double operations = 2. * static_cast<double>(matrix) * points * tiles.count();
  Operation operation =
      operation_of(context, state, {.operations = operations, .bytes = static_cast<double>(bytes)});
  operation.run = [=, &table = context.table](int number) {
    auto& set = state->sets[number];
    parallel_for(state->tiles.pieces(), points, [&](int piece, int point) {
      const TransformedTiles inputs = state->tiles.transformed(set.inputs.data(), in_blocks, piece);
      const TransformedTiles products = state->tiles.transformed(set.products.data(), out_blocks, piece);
      table.multiply(inputs.at(point, 0, 0), state->tiles.slots(), state->tiles.tiles_of(piece), in_blocks,
                     set.weights.data() + matrix * point, out_blocks, products.at(point, 0, 0));
    });
  };
  operation.check = [=] {
    auto& set = state->sets[0];
    Places places;
    Comparison comparison;
    for (int i = 0; i < Places::kCount; ++i) {
      const int number = places.coordinate(state->tiles.count());
      const int piece = number / state->tiles.slots();
      const int slot = number % state->tiles.slots();
      const int point = places.any(points);
      const int channel = places.any(out_blocks * kLanes);
      const TransformedTiles inputs = state->tiles.transformed(set.inputs.data(), in_blocks, piece);
      const TransformedTiles products = state->tiles.transformed(set.products.data(), out_blocks, piece);
      Sum sum;
      for (int in = 0; in < in_blocks * kLanes; ++in) {
        const double weight =
            set.weights
                .data()[matrix * point + (std::size_t(channel / kLanes) * in_blocks * kLanes + in) * kLanes +
                        channel % kLanes];
        sum.add(weight * inputs.at(point, in / kLanes, slot)[in % kLanes]);
      }
      comparison.near(products.at(point, channel / kLanes, slot)[channel % kLanes], sum.value,
                      sum.tolerance(), [&] { return tile_name(number, point, channel); });
    }
    return comparison.complaint();
  };
  return operation;
}

Operation transform_weights(const StepContext& context) {
  const MapShape below{context.layer.in_channels, 1, 1};
  const MapShape map{context.layer.out_channels, 1, 1};
  const int rows = below.blocks() * kLanes;  // The rows of an output block.
  const int all = rows * map.blocks();
  const int side = context.tile + 2;
  const std::size_t stride = static_cast<std::size_t>(all) * kLanes;
  const std::size_t bytes = stride * (9 + side * side) * sizeof(float);
  struct State {
    struct Set {
      AlignedBuffer<float> taps, transformed;
    };
    std::vector<Set> sets;
  };
  const auto state = std::make_shared<State>();
  state->sets.resize(context.device.sets(bytes));
  for (std::size_t i = 0; i < state->sets.size(); ++i) {
    state->sets[i] = {random_floats(stride * 9, i), poisoned(stride * side * side)};
  }
  Operation operation = operation_of(context, state, {.bytes = static_cast<double>(bytes)});
  operation.run = [=, tile = context.tile, &table = context.table](int number) {
    auto& set = state->sets[number];
    parallel_for(all, [&](int row) {
      table.transform_weights(tile, set.taps.data() + std::size_t(row) * 9 * kLanes,
                              set.transformed.data() + std::size_t(row) * kLanes, stride);
    });
  };
  operation.check = [=, tile = context.tile] {
    const auto& set = state->sets[0];
    const winograd::Matrix matrix = winograd::weights(tile);
    Places places;
    Comparison comparison;
    std::vector<double> square(9);
    for (int i = 0; i < Places::kCount; ++i) {
      const int row = places.any(all);
      const int lane = places.any(kLanes);
      for (int tap = 0; tap < 9; ++tap) {
        square[tap] = set.taps.data()[(std::size_t(row) * 9 + tap) * kLanes + lane];
      }
      const winograd::Transformed expected = winograd::transform(matrix, square);
      for (int point = 0; point < side * side; ++point) {
        comparison.near(set.transformed.data()[stride * point + std::size_t(row) * kLanes + lane],
                        expected.values[point], kTransformError * expected.magnitudes[point],
                        [&] { return fmt::format("row {}, point {}, lane {}", row, point, lane); });
      }
    }
    return comparison.complaint();
  };
  return operation;
}

}  // namespace

void add_cpu_winograd_steps(const Selection& selection, const std::shared_ptr<CpuDevice>& device) {
  const KernelTables tables = kernel_tables();
  const auto add_step = [&](const std::string& step, const Layer& layer, int images, const auto& make) {
    for (const int tile : {2, 4, 6}) {
      for (int i = 0; i < tables.count; ++i) {
        const Kernels& table = *tables.tables[i];
        const std::string batch = images > 0 ? fmt::format("/batch:{}", images) : "";
        add(fmt::format("cpu/{}/{}/F{}/{}{}", step, layer.name, tile, table.name, batch), device,
            [=, &table] {
              return make(StepContext{layer, tile, images, table, *device});
            });
      }
    }
  };
  for (const Layer& layer : whole_layers(selection.layers)) {
    add_step("transform_weights", layer, 0, transform_weights);
    for (const int images : selection.cpu_batches) {
      add_step("transform_input", layer, images, transform_input);
      add_step("multiply", layer, images, multiply);
      if (layer.pool_after) {
        add_step("transform_output_pool", layer, images,
                 [](const StepContext& context) { return transform_output(context, OutputKind::pool); });
        add_step("transform_pool_gradient", layer, images, transform_pool_gradient);
      } else {
        add_step("transform_output", layer, images,
                 [](const StepContext& context) { return transform_output(context, OutputKind::relu); });
      }
      add_step("transform_output_gradient", layer, images,
               [](const StepContext& context) { return transform_output(context, OutputKind::gradient); });
    }
  }
}

}  // namespace filterscope::bench
