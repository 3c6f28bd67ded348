#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <string>

#include "../layers.h"
#include "../operation.h"
#include "device.h"
#include "host/base/threads.h"
#include "host/cpu/convolution.h"
#include "host/cpu/kernels.h"
#include "host/cpu/plan.h"

/// The steps of a Winograd convolution as operations, each over all tiles of a layer, on all cores. In the
/// engine, the tiles of a piece stay in a core's cache from one step to the next; here, every step begins
/// with a cold cache.
namespace filterscope::bench {

/// The relative error of transforms in fp32, with respect to the magnitudes that they add up: a dozen
/// roundings.
constexpr double kTransformError = 0x1p-20;

/// The layer, tile and kernels of a step.
struct StepContext {
  const Layer& layer;
  int tile;
  int images;
  const cpu::Kernels& table;
  CpuDevice& device;
};

Operation transform_input(const StepContext& context);
Operation transform_pool_gradient(const StepContext& context);
/// transform_output(), transform_output_pool() or transform_output_gradient() of the table.
enum class OutputKind { relu, pool, gradient };
Operation transform_output(const StepContext& context, OutputKind kind);

/// The tiles of a layer, in pieces of as many as the engine processes at once.
class LayerTiles {
 public:
  LayerTiles(const Layer& layer, int tile, int images)
      : below_{layer.in_channels, layer.map.height, layer.map.width},
        map_{layer.out_channels, layer.map.height, layer.map.width},
        tiling_(cpu::make_tiling(tile, below_, map_, images)),
        grid_{tile, layer.map.height, layer.map.width},
        count_(grid_.per_map() * images),
        pieces_((count_ + tiling_.slots - 1) / tiling_.slots) {}

  const cpu::MapShape& below() const { return below_; }
  const cpu::MapShape& map() const { return map_; }
  const cpu::TileGrid& grid() const { return grid_; }
  int count() const { return count_; }
  int pieces() const { return pieces_; }
  int slots() const { return tiling_.slots; }
  int tiles_of(int piece) const { return std::min(count_, (piece + 1) * slots()) - piece * slots(); }

  /// The floats of all pieces of maps with so many channel blocks.
  std::size_t floats(int blocks) const { return piece_floats(blocks) * pieces_; }
  cpu::TransformedTiles transformed(float* values, int blocks, int piece) const {
    return {values + piece_floats(blocks) * piece, slots(), cpu::TransformedTiles::stride(slots(), blocks)};
  }

  /// Calls body(cpu::TileRange, piece) for every piece and channel block.
  template <class Body>
  void for_each(int blocks, const Body& body) const {
    parallel_for(pieces_, blocks, [&](int piece, int block) {
      body(cpu::TileRange{piece * slots(), block, 0, tiles_of(piece)}, piece);
    });
  }

  /// The position of a tile's first output.
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
    return grid_.points() * cpu::TransformedTiles::stride(tiling_.slots, blocks);
  }

  cpu::MapShape below_;
  cpu::MapShape map_;
  cpu::Tiling tiling_;
  cpu::TileGrid grid_;
  int count_;
  int pieces_;
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

inline std::string tile_name(int number, int point, int channel) {
  return fmt::format("tile {}, point {}, channel {}", number, point, channel);
}

/// The floats of all transformed tiles of maps with so many channel blocks.
inline std::size_t tile_floats(const LayerTiles& tiles, int blocks) {
  return std::size_t(tiles.grid().points()) * tiles.count() * blocks * cpu::kLanes;
}

}  // namespace filterscope::bench
