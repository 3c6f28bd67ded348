#include "recipe_options.h"

#include <fmt/format.h>

#include <utility>

#include "../ascent/recipe_json.h"
#include "../base/error.h"
#include "../base/text.h"
#include "common_options.h"

namespace filterscope::cli {

namespace {

Recipe with_values(const Recipe& recipe, const std::vector<std::string>& settings) {
  if (settings.empty()) return recipe;
  Json json = to_json(recipe);
  for (const std::string& setting : settings) {
    const std::size_t equals = setting.find('=');
    if (equals == std::string::npos || equals == 0)
      throw Error(
          ErrorKind::usage,
          fmt::format("--set: expected KEY=VALUE, such as stages.0.optimiser.step=0.05, found \"{}\"; "
                      "`filterscope recipes {}` prints all keys",
                      setting, recipe.name));
    set_value(json, setting.substr(0, equals), setting.substr(equals + 1), "--set " + printable(setting));
  }
  return parse_recipe(json, fmt::format("recipe {} with --set", recipe.name));
}

}  // namespace

Recipe recipe_of(const std::string& name_or_file) {
  if (name_or_file.ends_with(".json") || name_or_file.find('/') != std::string::npos)
    return read_recipe(name_or_file);
  return find_recipe(name_or_file);
}

Recipe changed_recipe(Recipe recipe, const Arguments& options, const Network& network) {
  if (const auto text = options.value("iterations")) {
    const int iterations = static_cast<int>(parse_integer("--iterations", *text, 1, kMostIterations));
    if (iterations < std::ssize(recipe.stages))
      throw Error(
          ErrorKind::usage,
          fmt::format("--iterations: expected at least {}, one for each stage of the recipe {}, found {}",
                      recipe.stages.size(), recipe.name, iterations));
    recipe = with_iterations(std::move(recipe), iterations);
  }
  if (const auto text = options.value("step"))
    for (Stage& stage : recipe.stages) stage.optimiser.step = parse_positive("--step", *text);
  if (const auto text = options.value("rescue"))
    for (Stage& stage : recipe.stages) stage.objective.rescue = parse_switch("--rescue", *text);
  if (const auto size = parse_size(options, network)) recipe = with_extent(std::move(recipe), {*size, *size});
  return with_values(recipe, options.values("set"));
}

std::string ascent_text(const Recipe& recipe) {
  const std::string iterations = counted(recipe.iterations(), "iteration");
  if (recipe.stages.size() == 1) return fmt::format("{} at {}", iterations, size_text(recipe.last().extent));
  return fmt::format("{} in {} of {} to {}", iterations, counted(std::ssize(recipe.stages), "stage"),
                     size_text(recipe.first().extent), size_text(recipe.last().extent));
}

std::string recipes_text() {
  std::string text;
  for (const Recipe& recipe : recipes()) text += fmt::format("  {:<20} {}\n", recipe.name, recipe.summary);
  return text;
}

OptionSpec set_option(std::string group) {
  return {std::move(group), "set", "KEY=VALUE",
          "Change one value of the recipe, such as stages.0.optimiser.step=0.05; may be repeated. "
          "`filterscope recipes NAME` prints all keys"};
}

}  // namespace filterscope::cli
