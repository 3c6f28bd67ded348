#pragma once

#include <span>

#include "engine.h"
#include "network.h"
#include "recipe.h"
#include "selection.h"

namespace filterscope {

/// A usage Error, which names what was expected and found, where a recipe or options hold what no engine
/// can do. The size is checked where the engines are made.
void require_settings(const Recipe& recipe, const RenderOptions& options);

/// The same for filters that the network has not, or that are not ascending, each once.
void require_filters(const Network& network, std::span<const FilterId> filters);

}  // namespace filterscope
