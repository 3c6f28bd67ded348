// The transforms of a Winograd convolution; see winograd_steps.h.

#include <memory>
#include <vector>

#include "../check.h"
#include "convolution_check.h"
#include "winograd.h"
#include "winograd_steps.h"

namespace filterscope::bench {

namespace {

using namespace cpu;

struct Buffers {
  AlignedBuffer<float> maps;
  AlignedBuffer<float> tiles;
  AlignedBuffer<std::uint8_t> bytes;  // ReLU masks or pool indices.
};

// Checks transformed tiles of maps that hold value(image, y, x, channel) inside the border.
template <class Value>
std::string check_input(const LayerTiles& tiles, float* values, int channels, int blocks,
                        const Value& value) {
  const int side = tiles.grid().tile + 2;
  const winograd::Matrix matrix = winograd::input(tiles.grid().tile);
  Places places;
  Comparison comparison;
  std::vector<double> square(static_cast<std::size_t>(side) * side);
  for (int i = 0; i < Places::kCount; ++i) {
    const int number = places.coordinate(tiles.count());
    const int channel = places.any(channels);
    const LayerTiles::Corner corner = tiles.corner(number);
    for (int y = 0; y < side; ++y) {
      for (int x = 0; x < side; ++x) {
        const int map_y = corner.y + y - 1;
        const int map_x = corner.x + x - 1;
        const bool inside =
            map_y >= 0 && map_y < tiles.grid().height && map_x >= 0 && map_x < tiles.grid().width;
        square[static_cast<std::size_t>(y) * side + x] =
            inside ? value(corner.image, map_y, map_x, channel) : 0.;
      }
    }
    const winograd::Transformed expected = winograd::transform(matrix, square);
    const int piece = number / tiles.slots();
    const TransformedTiles actual = tiles.transformed(values, blocks, piece);
    for (int point = 0; point < side * side; ++point) {
      comparison.near(actual.at(point, channel / kLanes, number % tiles.slots())[channel % kLanes],
                      expected.values[point], kTransformError * expected.magnitudes[point],
                      [&] { return tile_name(number, point, channel); });
    }
  }
  return comparison.complaint();
}

struct StepState {
  LayerTiles tiles;
  std::vector<Buffers> sets;
};

std::shared_ptr<StepState> step_state(const StepContext& context, std::size_t bytes) {
  auto state =
      std::make_shared<StepState>(StepState{LayerTiles(context.layer, context.tile, context.images), {}});
  state->sets.resize(context.device.sets(bytes));
  return state;
}

}  // namespace

Operation transform_input(const StepContext& context) {
  const LayerTiles tiles(context.layer, context.tile, context.images);
  const MapShape shape = tiles.below();
  const int blocks = shape.blocks();
  const std::size_t bytes = (shape.size() * context.images + tile_floats(tiles, blocks)) * sizeof(float);
  const auto state = step_state(context, bytes);
  for (std::size_t i = 0; i < state->sets.size(); ++i) {
    state->sets[i] = {random_maps(shape, context.images, i), poisoned(tiles.floats(blocks)), {}};
  }
  Operation operation = operation_of(context, state, {.bytes = static_cast<double>(bytes)});
  operation.run = [state, blocks, &table = context.table](int number) {
    Buffers& set = state->sets[number];
    state->tiles.for_each(blocks, [&](const TileRange& range, int piece) {
      table.transform_input(state->tiles.grid(), range, blocks, set.maps.data(),
                            state->tiles.transformed(set.tiles.data(), blocks, piece));
    });
  };
  operation.check = [state, shape, blocks] {
    Buffers& set = state->sets[0];
    return check_input(state->tiles, set.tiles.data(), shape.channels, blocks,
                       [&](int image, int y, int x, int channel) -> double {
                         return set.maps.data()[offset(shape, image, y, x, channel)];
                       });
  };
  return operation;
}

Operation transform_pool_gradient(const StepContext& context) {
  const LayerTiles tiles(context.layer, context.tile, context.images);
  const MapShape pooled = tiles.map().pooled();
  const int blocks = pooled.blocks();
  const std::size_t pooled_size = pooled.size() * context.images;
  const std::size_t bytes = (pooled_size + tile_floats(tiles, blocks)) * sizeof(float) + pooled_size;
  const auto state = step_state(context, bytes);
  for (std::size_t i = 0; i < state->sets.size(); ++i) {
    state->sets[i] = {random_maps(pooled, context.images, i), poisoned(tiles.floats(blocks)),
                      random_bytes(pooled_size, i, 5)};
  }
  Operation operation = operation_of(context, state, {.bytes = static_cast<double>(bytes)});
  operation.run = [state, blocks, &table = context.table](int number) {
    Buffers& set = state->sets[number];
    state->tiles.for_each(blocks, [&](const TileRange& range, int piece) {
      table.transform_pool_gradient(state->tiles.grid(), range, blocks, set.maps.data(), set.bytes.data(),
                                    state->tiles.transformed(set.tiles.data(), blocks, piece));
    });
  };
  operation.check = [state, pooled, blocks] {
    Buffers& set = state->sets[0];
    return check_input(state->tiles, set.tiles.data(), pooled.channels, blocks,
                       [&](int image, int y, int x, int channel) -> double {
                         if (y / 2 >= pooled.height || x / 2 >= pooled.width) return 0;
                         const std::size_t at = offset(pooled, image, y / 2, x / 2, channel);
                         const bool won = set.bytes.data()[at] == 2 * (y % 2) + x % 2;
                         return won ? set.maps.data()[at] : 0;
                       });
  };
  return operation;
}

Operation transform_output(const StepContext& context, OutputKind kind) {
  struct State : StepState {
    AlignedBuffer<float> bias;
  };
  const Layer& layer = context.layer;
  const auto state = std::make_shared<State>(State{
      {LayerTiles(context.layer, context.tile, context.images), {}}, random_floats(layer.out_channels, 3)});
  const LayerTiles& tiles = state->tiles;
  const bool pool = kind == OutputKind::pool;
  const bool gradient = kind == OutputKind::gradient;
  const MapShape whole = gradient ? tiles.below() : tiles.map();
  const MapShape shape = pool ? whole.pooled() : whole;
  const int blocks = shape.blocks();
  const bool masked = gradient ? layer.relu_below : !pool;
  const std::size_t size = shape.size() * context.images;
  const std::size_t byte_count = pool ? size : masked ? size / 8 : 0;
  const std::size_t bytes = (size + tile_floats(tiles, blocks)) * sizeof(float) + byte_count;
  state->sets.resize(context.device.sets(bytes));
  for (std::size_t i = 0; i < state->sets.size(); ++i) {
    state->sets[i] = {poisoned(size), random_floats(tiles.floats(blocks), 10 + i),
                      random_bytes(byte_count, i)};
  }
  Operation operation = operation_of(context, state, {.bytes = static_cast<double>(bytes)});
  operation.run = [=, &table = context.table](int number) {
    Buffers& set = state->sets[number];
    std::uint8_t* const out_bytes = byte_count > 0 ? set.bytes.data() : nullptr;
    state->tiles.for_each(blocks, [&](const TileRange& range, int piece) {
      const TileGrid& grid = state->tiles.grid();
      const TransformedTiles from = state->tiles.transformed(set.tiles.data(), blocks, piece);
      const float* const bias = state->bias.data() + range.block * kLanes;
      if (pool) {
        table.transform_output_pool(grid, range, blocks, from, bias, set.maps.data(), out_bytes);
      } else if (gradient) {
        table.transform_output_gradient(grid, range, blocks, from, out_bytes, set.maps.data());
      } else {
        table.transform_output(grid, range, blocks, from, bias, set.maps.data(), out_bytes);
      }
    });
  };
  operation.check = [=, &tiles] {
    Buffers& set = state->sets[0];
    const int tile = tiles.grid().tile;
    const winograd::Matrix matrix = winograd::output(tile);
    Places places;
    Comparison comparison;
    std::vector<double> square(tiles.grid().points());
    for (int i = 0; i < Places::kCount; ++i) {
      const int number = places.coordinate(tiles.count());
      const int channel = places.any(shape.channels);
      const LayerTiles::Corner corner = tiles.corner(number);
      const TransformedTiles from = tiles.transformed(set.tiles.data(), blocks, number / tiles.slots());
      for (int point = 0; point < tiles.grid().points(); ++point) {
        square[point] = from.at(point, channel / kLanes, number % tiles.slots())[channel % kLanes];
      }
      winograd::Transformed expected = winograd::transform(matrix, square);
      const auto value = [&](int y, int x) {
        const double sum = expected.values[static_cast<std::size_t>(y) * tile + x];
        return gradient ? sum : std::max(sum + state->bias.data()[channel], 0.);
      };
      const auto tolerance = [&](int y, int x) {
        return kTransformError * (expected.magnitudes[static_cast<std::size_t>(y) * tile + x] + 1);
      };
      const int step = pool ? 2 : 1;
      for (int y = 0; y < tile && corner.y + y + step <= whole.height; y += step) {
        for (int x = 0; x < tile && corner.x + x + step <= whole.width; x += step) {
          const auto where = [&] { return tile_name(number, y * tile + x, channel); };
          const std::size_t at =
              offset(shape, corner.image, (corner.y + y) / step, (corner.x + x) / step, channel);
          const double actual = set.maps.data()[at];
          if (pool) {
            double best = 0;
            double error = 0;
            for (int k = 0; k < 4; ++k) {
              best = std::max(best, value(y + k / 2, x + k % 2));
              error = std::max(error, tolerance(y + k / 2, x + k % 2));
            }
            comparison.near(actual, best, error, where);
            const int largest = set.bytes.data()[at];
            const bool right = largest == 4 ? actual == 0
                                            : largest < 4 && actual > 0 &&
                                                  value(y + largest / 2, x + largest % 2) >= best - 2 * error;
            comparison.same(right, [&] { return "the argmax of " + where(); });
          } else if (gradient) {
            const bool active = !masked || bit(set.bytes.data(), at);
            comparison.near(actual, active ? value(y, x) : 0, active ? tolerance(y, x) : 0, where);
          } else {
            comparison.near(actual, value(y, x), tolerance(y, x), where);
            comparison.same(bit(set.bytes.data(), at) == (actual > 0),
                            [&] { return "the mask of " + where(); });
          }
        }
      }
    }
    return comparison.complaint();
  };
  return operation;
}

}  // namespace filterscope::bench
