// The steps of a Winograd convolution, each over all tiles of a layer, by all cores. In the engine the tiles
// of a piece stay in a core's cache from one step to the next; here every step begins with nothing in the
// cache.

#include <memory>
#include <vector>

#include "../check.h"
#include "convolution_check.h"
#include "families.h"
#include "host/base/threads.h"
#include "host/cpu/convolution.h"
#include "host/cpu/plan.h"
#include "winograd.h"

namespace filterscope::bench {

namespace {

using namespace cpu;

// Of transforms in fp32, relative to the magnitudes that they add up: a dozen roundings.
constexpr double kTransformError = 0x1p-20;

// A layer's tiles in pieces of as many as the engine has under way at once.
class Tiles {
 public:
  Tiles(const Layer& layer, int tile, int images)
      : below_{layer.in_channels, layer.map.height, layer.map.width},
        map_{layer.out_channels, layer.map.height, layer.map.width},
        tiling_(make_tiling(tile, below_, map_, images)),
        grid_{tile, layer.map.height, layer.map.width},
        count_(grid_.per_map() * images),
        pieces_((count_ + tiling_.slots - 1) / tiling_.slots) {}

  const MapShape& below() const { return below_; }
  const MapShape& map() const { return map_; }
  const TileGrid& grid() const { return grid_; }
  int count() const { return count_; }
  int pieces() const { return pieces_; }
  int slots() const { return tiling_.slots; }
  int tiles_of(int piece) const { return std::min(count_, (piece + 1) * slots()) - piece * slots(); }

  /// Floats that all pieces of maps with so many blocks take.
  std::size_t floats(int blocks) const { return piece_floats(blocks) * pieces_; }
  TransformedTiles transformed(float* values, int blocks, int piece) const {
    return {values + piece_floats(blocks) * piece, slots(), TransformedTiles::stride(slots(), blocks)};
  }

  /// Calls body(TileRange, piece) for every piece and channel block.
  template <class Body>
  void for_each(int blocks, const Body& body) const {
    parallel_for(pieces_, blocks, [&](int piece, int block) {
      body(TileRange{piece * slots(), block, 0, tiles_of(piece)}, piece);
    });
  }

  /// A tile's first output.
  struct Corner {
    int image, y, x;
  };
  Corner corner(int number) const {
    const int within = number % grid_.per_map();
    return {number / grid_.per_map(), within / grid_.columns() * grid_.tile,
            within % grid_.columns() * grid_.tile};
  }

 private:
  std::size_t piece_floats(int blocks) const {
    return grid_.points() * TransformedTiles::stride(tiling_.slots, blocks);
  }

  MapShape below_;
  MapShape map_;
  Tiling tiling_;
  TileGrid grid_;
  int count_;
  int pieces_;
};

struct Buffers {
  AlignedBuffer<float> maps;
  AlignedBuffer<float> tiles;
  AlignedBuffer<std::uint8_t> bytes;  // Masks or argmax.
};

std::string tile_name(int number, int point, int channel) {
  return fmt::format("tile {}, point {}, channel {}", number, point, channel);
}

// Maps -> transformed tiles. value(image, y, x, channel) says what the maps hold inside the border.
template <class Value>
std::string check_input(const Tiles& tiles, float* values, int channels, int blocks, const Value& value) {
  const int side = tiles.grid().tile + 2;
  const winograd::Matrix matrix = winograd::input(tiles.grid().tile);
  Places places;
  Comparison comparison;
  std::vector<double> square(static_cast<std::size_t>(side) * side);
  for (int i = 0; i < Places::kCount; ++i) {
    const int number = places.coordinate(tiles.count());
    const int channel = places.any(channels);
    const Tiles::Corner corner = tiles.corner(number);
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

struct StepContext {
  const Layer& layer;
  int tile;
  int images;
  const Kernels& table;
  CpuDevice& device;
};

template <class State>
Operation operation_of(const StepContext& context, const std::shared_ptr<State>& state, const Work& work) {
  Operation operation{.work = work,
                      .ceilings = context.device.ceilings(context.table.name),
                      .sets = static_cast<int>(state->sets.size()),
                      .run = {},
                      .check = {}};
  return operation;
}

struct StepState {
  Tiles tiles;
  std::vector<Buffers> sets;
};

std::shared_ptr<StepState> step_state(const StepContext& context, std::size_t bytes) {
  auto state = std::make_shared<StepState>(StepState{Tiles(context.layer, context.tile, context.images), {}});
  state->sets.resize(context.device.sets(bytes));
  return state;
}

std::size_t tile_floats(const Tiles& tiles, int blocks) {
  return std::size_t(tiles.grid().points()) * tiles.count() * blocks * kLanes;
}

Operation transform_input(const StepContext& context) {
  const Tiles tiles(context.layer, context.tile, context.images);
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
  const Tiles tiles(context.layer, context.tile, context.images);
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

Operation multiply(const StepContext& context) {
  struct State {
    struct Set {
      AlignedBuffer<float> inputs, weights, products;
    };
    Tiles tiles;
    std::vector<Set> sets;
  };
  const auto state = std::make_shared<State>(State{Tiles(context.layer, context.tile, context.images), {}});
  const Tiles& tiles = state->tiles;
  const int points = tiles.grid().points();
  const int in_blocks = tiles.below().blocks();
  const int out_blocks = tiles.map().blocks();
  const std::size_t matrix = std::size_t(in_blocks) * out_blocks * kLanes * kLanes;  // Weights of a point.
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

enum class Output { relu, pool, gradient };

Operation transform_output(const StepContext& context, Output kind) {
  struct State : StepState {
    AlignedBuffer<float> bias;
  };
  const Layer& layer = context.layer;
  const auto state = std::make_shared<State>(
      State{{Tiles(context.layer, context.tile, context.images), {}}, random_floats(layer.out_channels, 3)});
  const Tiles& tiles = state->tiles;
  const bool pool = kind == Output::pool;
  const bool gradient = kind == Output::gradient;
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
      const Tiles::Corner corner = tiles.corner(number);
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

Operation transform_weights(const StepContext& context) {
  const MapShape below{context.layer.in_channels, 1, 1};
  const MapShape map{context.layer.out_channels, 1, 1};
  const int rows = below.blocks() * kLanes;  // Of an output block.
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
                 [](const StepContext& context) { return transform_output(context, Output::pool); });
        add_step("transform_pool_gradient", layer, images, transform_pool_gradient);
      } else {
        add_step("transform_output", layer, images,
                 [](const StepContext& context) { return transform_output(context, Output::relu); });
      }
      add_step("transform_output_gradient", layer, images,
               [](const StepContext& context) { return transform_output(context, Output::gradient); });
    }
  }
}

}  // namespace filterscope::bench
