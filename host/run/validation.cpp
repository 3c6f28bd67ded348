#include "validation.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <string_view>

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
  require_at_least("Recipe::iterations", 1, recipe.iterations);
  require_at_least("Recipe::trace_points", 1, recipe.trace_points);
  const double step = recipe.optimiser.step;
  if (!std::isfinite(step) || step <= 0)
    throw Error(ErrorKind::usage,
                fmt::format("Optimiser::step: expected a finite number above 0, found {}", step));
  const double epsilon = recipe.gradient_normalisation.epsilon;
  if (!std::isfinite(epsilon) || epsilon < 0) {
    throw Error(
        ErrorKind::usage,
        fmt::format("GradientNormalisation::epsilon: expected a finite number from 0, found {}", epsilon));
  }
  const Extent extent = options.extent;
  const int smallest = network.smallest_image();
  if (extent.height < smallest || extent.width < smallest) {
    throw Error(ErrorKind::usage, fmt::format("--size: {} is too small for {}; expected at least {}",
                                              size_text(extent), network.name, smallest));
  }
  const InitialImages& start = options.initial_images;
  require_at_least("InitialImages::count", 0, start.count);
  if (start.count > 0 && start.extent != extent) {
    throw Error(
        ErrorKind::usage,
        fmt::format("InitialImages::extent: expected RenderOptions::extent, {}, found {} (width x height)",
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

void require_images(const RenderOptions& options, std::span<const FilterId> filters,
                    std::span<const float> images) {
  const std::size_t expected = values_of(options.extent, filters.size());
  if (images.size() == expected) return;
  throw Error(ErrorKind::usage, fmt::format("images: expected {} values for {}, found {}", expected,
                                            counted(std::ssize(filters), "filter"), images.size()));
}

}  // namespace filterscope
