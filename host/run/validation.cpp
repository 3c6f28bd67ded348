#include "validation.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <string_view>

#include "../ascent/recipe.h"
#include "../base/error.h"
#include "../base/text.h"

namespace filterscope {

namespace {

void require_at_least(std::string_view what, int smallest, int value) {
  if (value >= smallest) return;
  throw Error(ErrorKind::usage, fmt::format("{}: expected at least {}, found {}", what, smallest, value));
}

std::size_t values_of(Extent extent, std::size_t images) {
  return static_cast<std::size_t>(extent.positions()) * 3 * images;
}

}  // namespace

void require_settings(const Network& network, const Recipe& recipe, const RenderOptions& options) {
  require_valid(recipe, network.smallest_image());
  const Extent extent = recipe.first().extent;
  const InitialImages& start = options.initial_images;
  require_at_least("InitialImages::count", 0, start.count);
  if (start.count > 0 && start.extent != extent) {
    throw Error(
        ErrorKind::usage,
        fmt::format(
            "InitialImages::extent: expected that of the recipe's first stage, {}, found {} (width x height)",
            size_text(extent), size_text(start.extent)));
  }
  if (start.count > 0 && start.values.size() != values_of(extent, start.count)) {
    throw Error(ErrorKind::usage, fmt::format("InitialImages::values: expected {} for {}, found {}",
                                              values_of(extent, start.count), counted(start.count, "image"),
                                              start.values.size()));
  }
  require_at_least("RenderOptions::trace_every", 0, options.trace_every);
  require_at_least("RenderOptions::frame_every", 0, options.frame_every);
  require_at_least("RenderOptions::batch", 0, options.batch);
  require_at_least("RenderOptions::threads", 0, options.threads);
  require_at_least("RenderOptions::local_rank", 0, options.local_rank);
  require_at_least("RenderOptions::profile_first", 1, options.profile_first);
  require_at_least("RenderOptions::profile_count", 0, options.profile_count);
}

void require_filters(const Network& network, std::span<const FilterId> filters) {
  const auto layers = std::ssize(network.convolutions);
  for (const FilterId id : filters) {
    if (id.layer < 0 || id.layer >= layers)
      throw Error(ErrorKind::usage, fmt::format("layer number {}: expected 0 to {}", id.layer, layers - 1));
    const Convolution& convolution = network.convolutions[id.layer];
    if (id.filter < 0 || id.filter >= convolution.out_channels) {
      throw Error(ErrorKind::usage, fmt::format("filter {} of {}: expected 0 to {}", id.filter,
                                                convolution.name, convolution.out_channels - 1));
    }
  }
  const auto unsorted = std::ranges::adjacent_find(filters, [](FilterId a, FilterId b) { return !(a < b); });
  if (unsorted != filters.end()) {
    throw Error(
        ErrorKind::usage,
        fmt::format("filters: expected ascending order, each once; found {} of {} followed by {} of {}",
                    unsorted->filter, network.convolutions[unsorted->layer].name, (unsorted + 1)->filter,
                    network.convolutions[(unsorted + 1)->layer].name));
  }
}

void require_start_images(const RenderOptions& options, std::span<const FilterId> filters) {
  const int count = options.initial_images.count;
  if (count <= 1 || static_cast<std::size_t>(count) == filters.size()) return;
  throw Error(ErrorKind::usage,
              fmt::format("InitialImages::count: expected 1 or one for each of {}, found {}",
                          counted(std::ssize(filters), "filter"), count));
}

void require_images(const Recipe& recipe, std::span<const FilterId> filters, std::span<const float> images) {
  const std::size_t expected = values_of(canvas_extent(recipe.first()), filters.size());
  if (images.size() == expected) return;
  throw Error(ErrorKind::usage, fmt::format("images: expected {} values for {}, found {}", expected,
                                            counted(std::ssize(filters), "filter"), images.size()));
}

void require_objective(const Network& network, const Recipe& recipe, std::span<const FilterId> filters) {
  for (std::size_t number = 0; number < recipe.stages.size(); ++number) {
    const Stage& stage = recipe.stages[number];
    for (const FilterId id : filters) {
      const Extent map = network.map_extent(id.layer, canvas_extent(stage));
      const MapWindow window = counted_positions(stage.objective, map);
      if (window.top >= 0 && window.left >= 0 && window.top < window.bottom && window.left < window.right &&
          window.bottom <= map.height && window.right <= map.width)
        continue;
      const bool position = stage.objective.kind == Objective::Kind::position;
      throw Error(
          ErrorKind::usage,
          fmt::format("stages.{}.objective.{}: no position of the map of {}, which is {} (width x "
                      "height) for images of {}, counts; expected a {}, a larger size or other layers",
                      number, position ? "position" : "margin", network.convolutions[id.layer].name,
                      size_text(map), size_text(canvas_extent(stage)),
                      position ? "position inside it" : "smaller margin"));
    }
  }
}

}  // namespace filterscope
