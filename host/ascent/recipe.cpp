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

std::string_view to_string(InitialImage::Kind) {
  return "uniform";
}
std::string_view to_string(Objective) {
  return "mean_activation";
}
std::string_view to_string(GradientNormalisation::Kind) {
  return "l2_per_image";
}
std::string_view to_string(Optimiser::Kind) {
  return "gradient_ascent";
}
std::string_view to_string(PictureMapping) {
  return "min_max";
}

}  // namespace filterscope
