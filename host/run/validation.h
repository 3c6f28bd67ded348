#pragma once

#include <span>

#include "../ascent/recipe.h"
#include "../model/network.h"
#include "engine.h"
#include "selection.h"

namespace filterscope {

/// Throws a usage Error, which names what was expected and found, if no engine can run this recipe with these
/// options.
void require_settings(const Network& network, const Recipe& recipe, const RenderOptions& options);

/// Throws such an Error unless the network has all filters, and they are ascending, each once.
void require_filters(const Network& network, std::span<const FilterId> filters);

/// Throw such an Error unless there is one start image for all filters or one for each; and unless `images`
/// hold one for each.
void require_start_images(const RenderOptions& options, std::span<const FilterId> filters);
void require_images(const Recipe& recipe, std::span<const FilterId> filters, std::span<const float> images);

/// Throws such an Error unless the objective of every stage counts positions of each filter's map.
void require_objective(const Network& network, const Recipe& recipe, std::span<const FilterId> filters);

}  // namespace filterscope
