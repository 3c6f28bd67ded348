#pragma once

#include <string>
#include <vector>

#include "../ascent/recipe.h"
#include "../model/network.h"
#include "options.h"

namespace filterscope::cli {

/// The recipe of this name or, if the text ends in .json or has a slash, in this file.
Recipe recipe_of(const std::string& name_or_file);

/// Changes a recipe by the options of whole recipes (--iterations, --step, --rescue, --size) and then by each
/// --set KEY=VALUE, as far as they are given. Throws usage Errors; the result is not checked yet.
Recipe changed_recipe(Recipe recipe, const Arguments& options, const Network& network);

/// "500 iterations at 96 x 96"; "270 iterations in 12 stages of 56 x 56 to 408 x 408".
std::string ascent_text(const Recipe& recipe);

/// A row for each recipe: its name and summary.
std::string recipes_text();

/// The option --set in the help, under `group`.
OptionSpec set_option(std::string group);

}  // namespace filterscope::cli
