#pragma once

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

#include "../model/input_mapping.h"

namespace filterscope {

/// The image that an ascent starts from.
struct InitialImage {
  enum class Kind { uniform };  ///< Independent uniform values in [low, high).
  Kind kind = Kind::uniform;
  float low = 0.f;
  float high = 1.f;
};

/// The function that the ascent maximises.
enum class Objective {
  mean_activation,  ///< Mean over all positions of the target filter's map after its ReLU.
};

/// How the gradient is normalised before the optimiser's step.
struct GradientNormalisation {
  enum class Kind {
    l2_per_image
  };  ///< g / sqrt(max(sum g^2, epsilon)), the sum over one filter's whole image.
  Kind kind = Kind::l2_per_image;
  float epsilon = 1e-12f;
};

/// How the normalised gradient changes the image.
struct Optimiser {
  enum class Kind { gradient_ascent };  ///< image += step * gradient.
  Kind kind = Kind::gradient_ascent;
  float step = 0.1f;
};

/// How the final image becomes an 8-bit picture.
enum class PictureMapping {
  min_max,  ///< (x - min) / (max - min) over all three channels; a constant image becomes black.
};

/// An ascent as data. Picture channel c is image channel c.
struct Recipe {
  std::string name;
  std::string source;  ///< Where the recipe was published.
  InitialImage initial_image;
  InputMapping input_mapping;
  Objective objective = Objective::mean_activation;
  /// In an iteration in which no position of the filter's map is above zero, so that there is no gradient,
  /// the ascent maximises the mean of the map before its ReLU instead, bias included. Normalisation and step
  /// stay the same.
  bool rescue = true;
  GradientNormalisation gradient_normalisation;
  Optimiser optimiser;
  PictureMapping picture_mapping = PictureMapping::min_max;
  int size = 96;          ///< Height and width of the image, as published; RenderOptions::extent decides.
  int iterations = 500;   ///< Steps.
  int trace_points = 50;  ///< The loss is reported every max(1, iterations / trace_points) iterations.

  int trace_every() const { return std::max(1, iterations / trace_points); }
};

/// All recipes, the default first.
const std::vector<Recipe>& recipes();
/// The recipe of that name; an unknown name is a usage Error that lists the known ones.
const Recipe& find_recipe(std::string_view name);

std::string_view to_string(InitialImage::Kind kind);
std::string_view to_string(Objective objective);
std::string_view to_string(GradientNormalisation::Kind kind);
std::string_view to_string(Optimiser::Kind kind);
std::string_view to_string(PictureMapping mapping);

}  // namespace filterscope
