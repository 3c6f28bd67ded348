#include "recipe.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "../base/error.h"

namespace filterscope {

const std::vector<Recipe>& recipes() {
  static const std::vector<Recipe> all{
      {.name = "seed",
       .source = "vijitVM/CNN-Filter-Visulization, CNN_Filter_Visulization.ipynb (TensorFlow 2.7)",
       .initial_image = {},
       .input_mapping = identity_mapping(),
       .gradient_normalisation = {},
       .optimiser = {}},
  };
  return all;
}

const Recipe& find_recipe(std::string_view name) {
  const auto found = std::ranges::find(recipes(), name, &Recipe::name);
  if (found != recipes().end()) return *found;
  std::vector<std::string> names;
  for (const Recipe& recipe : recipes()) names.push_back(recipe.name);
  throw Error(ErrorKind::usage,
              fmt::format("--recipe {}: no such recipe; expected one of: {}", name, fmt::join(names, ", ")));
}

Extent canvas_extent(const Stage& stage) {
  Extent canvas = stage.extent;
  for (const Transform& transform : stage.transforms.list) {
    int margin = 0;
    if (transform.kind == Transform::Kind::pad) margin = transform.pixels;
    if (transform.kind == Transform::Kind::crop) margin = -transform.pixels;
    canvas.height += 2 * margin;
    canvas.width += 2 * margin;
  }
  return canvas;
}

MapWindow counted_positions(const Objective& objective, Extent map) {
  if (objective.kind == Objective::Kind::position) {
    const auto [y, x] = objective.position.value_or(Objective::Position{map.height / 2, map.width / 2});
    return {y, x, y + 1, x + 1};
  }
  const int margin = objective.margin;
  return {margin, margin, map.height - margin, map.width - margin};
}

}  // namespace filterscope
