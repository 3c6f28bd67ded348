#pragma once

#include <span>

#include "../ascent/recipe.h"
#include "../model/network.h"
#include "engine.h"
#include "selection.h"

namespace filterscope {

/// A usage Error, which names what was expected and found, where a recipe or options hold what no engine
/// can do.
void require_settings(const Network& network, const Recipe& recipe, const RenderOptions& options);

/// The same for filters that the network has not, or that are not ascending, each once.
void require_filters(const Network& network, std::span<const FilterId> filters);

/// The same for start images that are not one for all filters or one for each, and for `images` that are not
/// one for each.
void require_start_images(const RenderOptions& options, std::span<const FilterId> filters);
void require_images(const RenderOptions& options, std::span<const FilterId> filters,
                    std::span<const float> images);

}  // namespace filterscope
