#include <fmt/format.h>

#include "../ascent/recipe.h"
#include "../ascent/recipe_json.h"
#include "../base/error.h"
#include "../model/network.h"
#include "commands.h"
#include "options.h"
#include "recipe_options.h"
#include "text.h"

namespace filterscope::cli {

namespace {

const OptionTable& recipes_options() {
  static const OptionTable table("filterscope recipes", {set_option("Listing")});
  return table;
}

constexpr const char* kAbout =
    R"(Lists the recipes, the ways of making pictures. Given one, prints all its values as JSON, which `filterscope render
--recipe FILE.json` takes; a later stage has only what differs from the stage before it.

Usage: filterscope recipes [NAME|FILE.json] [OPTION...]

)";

constexpr const char* kExamples = R"(Examples
  filterscope recipes lucid
  filterscope recipes lucid --set stages.0.iterations=128 --set name=short > short.json
  filterscope render block3_conv1:0-7 --recipe short.json
)";

}  // namespace

int run_recipes(const std::vector<std::string>& arguments) {
  const Arguments options = recipes_options().parse(arguments);
  if (options.has("help")) {
    fmt::print("{}{}\n{}\n{}", kAbout, recipes_options().help(), kExamples, exit_codes_help());
    return 0;
  }
  const std::vector<std::string>& names = options.positional();
  if (names.size() > 1 || (names.empty() && options.has("set")))
    throw Error(ErrorKind::usage,
                fmt::format("expected {} recipe, found {}; see `filterscope recipes --help`",
                            options.has("set") ? "one" : "at most one", names.size()));
  if (names.empty()) {
    fmt::print("{}", recipes_text());
    return 0;
  }
  const Network& network = vgg16();
  const Recipe recipe = changed_recipe(recipe_of(names.front()), options, network);
  require_valid(recipe, network.smallest_image());
  fmt::print("{}\n", over_lines(to_json(recipe), 0));
  return 0;
}

}  // namespace filterscope::cli
