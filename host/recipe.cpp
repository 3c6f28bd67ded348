#include "recipe.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "error.h"

namespace filterscope {

InputMapping identity_mapping() {
  return {.name = "identity"};
}

InputMapping keras_mapping() {
  return {.name = "bgr-255-minus-mean",
          .source = {2, 1, 0},
          .scale = {255.f, 255.f, 255.f},
          .offset = {-103.939f, -116.779f, -123.68f}};
}

InputMapping torchvision_mapping() {
  return {.name = "rgb-normalised",
          .source = {0, 1, 2},
          .scale = {1 / 0.229f, 1 / 0.224f, 1 / 0.225f},
          .offset = {-0.485f / 0.229f, -0.456f / 0.224f, -0.406f / 0.225f}};
}

InputMapping torchvision_features_mapping() {
  return {.name = "rgb-255-minus-mean",
          .source = {0, 1, 2},
          .scale = {255.f, 255.f, 255.f},
          .offset = {-0.48235f * 255, -0.45882f * 255, -0.40784f * 255}};
}

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
