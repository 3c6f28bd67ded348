#include "recipe.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "../base/error.h"
#include "../base/nearest_name.h"
#include "../model/weights/weights.h"

namespace filterscope {

Extent canvas_extent(const Stage& stage) {
  int more = 0;
  for (const Transform& transform : stage.transforms.list) {
    if (transform.kind == Transform::Kind::pad) more += 2 * transform.pixels;
    if (transform.kind == Transform::Kind::crop) more -= 2 * transform.pixels;
  }
  return {stage.extent.height + more, stage.extent.width + more};
}

Recipe with_iterations(Recipe recipe, int iterations) {
  const std::int64_t before = recipe.iterations();
  const auto stages = static_cast<int>(recipe.stages.size());
  std::int64_t sum = 0;
  int begin = 0;
  for (int i = 0; i < stages; ++i) {
    Stage& stage = recipe.stages[static_cast<std::size_t>(i)];
    sum += stage.iterations;
    const auto rounded = static_cast<int>((2 * sum * iterations + before) / (2 * before));
    const int end = std::max(begin + 1, std::min(rounded, iterations - (stages - 1 - i)));
    stage.iterations = end - begin;
    begin = end;
  }
  return recipe;
}

Recipe with_extent(Recipe recipe, Extent last) {
  const Extent before = recipe.last().extent;
  const auto in_proportion = [](int side, int from, int to) {
    return std::max(1, static_cast<int>(std::lround(static_cast<double>(side) * to / from)));
  };
  const auto change = [&](Extent& extent) {
    extent = {in_proportion(extent.height, before.height, last.height),
              in_proportion(extent.width, before.width, last.width)};
  };
  for (Stage& stage : recipe.stages) change(stage.extent);
  if (recipe.picture.extent) change(*recipe.picture.extent);
  return recipe;
}

Recipe with_input_of(Recipe recipe, const Weights& weights) {
  for (std::size_t i = 0; i < recipe.stages.size(); ++i) {
    InputMapping& mapping = recipe.stages[i].input_mapping;
    if (mapping != auto_mapping()) continue;
    if (!weights.natural_input)
      throw Error(ErrorKind::input,
                  fmt::format("weights {}: the file does not say what input they were trained on, which the "
                              "recipe {} needs; give --set stages.{}.input_mapping=keras, torchvision or "
                              "torchvision_features",
                              weights.name, recipe.name, i));
    mapping = *weights.natural_input;
  }
  return recipe;
}

const Recipe& find_recipe(std::string_view name) {
  const auto found = std::ranges::find(recipes(), name, &Recipe::name);
  if (found != recipes().end()) return *found;
  std::vector<std::string> names;
  for (const Recipe& recipe : recipes()) names.push_back(recipe.name);
  const auto nearest = nearest_name(name, names);
  throw Error(ErrorKind::usage, fmt::format("recipe {}: no such recipe{}; expected one of: {}", name,
                                            nearest ? fmt::format(", did you mean {}?", *nearest) : "",
                                            fmt::join(names, ", ")));
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
