#pragma once

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "../base/extent.h"
#include "../model/input_mapping.h"

namespace filterscope {

struct Weights;

/// The largest sides of images and numbers of iterations that a recipe may have.
inline constexpr int kLargestImage = 16384;
inline constexpr int kMostIterations = 1'000'000'000;
/// As many transforms of a list have draws of their own.
inline constexpr int kMostTransforms = 16;

/// What an ascent starts from, drawn for each filter: for Parameterisation::Kind::pixels the image, whose
/// parameters follow by the inverse of colour and range; for Kind::fourier real and imaginary parts of the
/// coefficients. Only the first stage has one; a later stage starts from the image of the stage before.
struct Start {
  enum class Kind {
    uniform,   ///< Independent values, uniform in [low, high).
    gaussian,  ///< Independent values of `mean` and `deviation`.
    constant,  ///< `value` everywhere.
  };
  Kind kind = Kind::uniform;
  float low = 0.f;
  float high = 1.f;
  float mean = 0.f;
  float deviation = 1.f;
  float value = 0.f;

  bool operator==(const Start&) const = default;
};

/// How the image follows from the parameters that the optimiser changes.
struct Parameterisation {
  enum class Kind {
    pixels,   ///< The values of the image themselves, before colour and range.
    fourier,  ///< Coefficients of a real two-dimensional spectrum for each channel, before colour and range:
              ///< irfft2(coefficients / max(f, 1 / max(W, H))^decay * sqrt(W * H)) / 4, f in cycles a pixel
              ///< (Lucid, optvis/param/spatial.py).
  };
  enum class Colour {
    as_is,
    decorrelated,  ///< Three decorrelated channels, through Lucid's matrix (optvis/param/color.py).
    standardised,  ///< Each channel times ImageNet's standard deviation plus its mean, of RGB in 0..1.
  };
  enum class Range {
    unbounded,
    sigmoid,  ///< 1 / (1 + exp(-x)).
  };
  Kind kind = Kind::pixels;
  float decay = 1.f;
  Colour colour = Colour::as_is;
  Range range = Range::unbounded;

  bool operator==(const Parameterisation&) const = default;
};

/// A number drawn for each filter and iteration: one of `choices` or, if there are none, uniform in [low,
/// high).
struct Draw {
  std::vector<float> choices = {};
  float low = 0.f;
  float high = 0.f;

  bool operator==(const Draw&) const = default;
};

/// What lies outside an image that is sampled.
enum class Border {
  constant,  ///< A value.
  edge,      ///< The nearest pixel of the image.
  reflect,   ///< The image mirrored, its edge pixels repeated: d c b a | a b c d | d c b a.
  wrap,      ///< The image repeated.
};

/// One change of the image's geometry, about its centre. Lengths are in pixels.
struct Transform {
  enum class Kind {
    pad,     ///< `pixels` more on each side, of the border.
    crop,    ///< `pixels` fewer on each side.
    jitter,  ///< A shift by whole pixels, down and right, each uniform in -pixels/2 .. (pixels - 1)/2.
    scale,   ///< Enlarged by the factor `draw`.
    rotate,  ///< Turned by `draw` degrees, counter-clockwise as displayed.
    flip,    ///< Left and right exchanged, every other time.
  };
  Kind kind = Kind::jitter;
  int pixels = 0;
  Draw draw = {};
  /// Only of Stage::kept_transforms: what lies outside the image for this one; none: Transforms::border.
  std::optional<Border> border = std::nullopt;

  bool operator==(const Transform&) const = default;
};

/// Transforms of one iteration. All of Stage::transforms are one affine map, and so one sampling.
struct Transforms {
  /// In the order in which they are applied; at most 16, which is how many draw from different counters.
  std::vector<Transform> list = {};
  Border border = Border::constant;
  float value = 0.f;  ///< Of Border::constant.

  bool empty() const { return list.empty(); }
  bool operator==(const Transforms&) const = default;
};

/// The function that the ascent maximises. The map is the target filter's.
struct Objective {
  enum class Kind {
    mean,      ///< Mean over the positions of the map that are at least `margin` from its border.
    position,  ///< One position of the map.
  };
  struct Position {
    int y = 0;
    int x = 0;
    bool operator==(const Position&) const = default;
  };
  Kind kind = Kind::mean;
  int margin = 0;
  std::optional<Position> position = std::nullopt;  ///< Of Kind::position; none: (height / 2, width / 2).
  bool before_relu = false;                         ///< The map before its ReLU, bias included, not after it.
  bool minimise = false;  ///< Only of the map before its ReLU: after it nothing is below zero.
  /// After the ReLU: in an iteration in which no position that counts is above zero, so that there is no
  /// gradient, the ascent maximises the same mean before the ReLU instead.
  bool rescue = true;

  bool rescues() const { return rescue && !before_relu; }
  bool operator==(const Objective&) const = default;
};

/// A penalty on the image as the recipe holds it, subtracted from the objective: `weight` times what `kind`
/// says, over the n = H * W * 3 values x of the image.
struct Regulariser {
  enum class Kind {
    total_variation_l1,  ///< Sum of the magnitudes of differences of neighbours in y and x, / n.
    total_variation_l2,  ///< Sum of their squares, / n.
    lp_norm,             ///< (sum |x|^power)^(1 / power) / n.
    mean_magnitude,      ///< Sum |x| / n.
  };
  Kind kind = Kind::total_variation_l1;
  float weight = 1.f;
  float power = 2.f;  ///< Of lp_norm; at least 1.

  bool operator==(const Regulariser&) const = default;
};

/// How the gradient with respect to the parameters is normalised before the optimiser's step, over all
/// values of one filter.
struct GradientNormalisation {
  enum class Kind {
    none,
    l2,   ///< Divided by sqrt(sum g^2).
    rms,  ///< Divided by sqrt(mean g^2).
  };
  enum class EpsilonPlace {
    least_sum,  ///< The sum or mean under the root is at least `epsilon`.
    added,      ///< `epsilon` is added to the root.
  };
  Kind kind = Kind::l2;
  float epsilon = 1e-12f;
  EpsilonPlace epsilon_place = EpsilonPlace::least_sum;

  bool operator==(const GradientNormalisation&) const = default;
};

/// How the normalised gradient g changes the parameters x. Each stage begins with a state of zero.
struct Optimiser {
  enum class Kind {
    ascent,    ///< x += step * g.
    momentum,  ///< v = momentum * v + g; x += step * v.
    adam,      ///< D. P. Kingma, J. Ba, ICLR 2015, algorithm 1, with beta1, beta2, epsilon.
    rmsprop,   ///< v = rho * v + (1 - rho) * g^2; x += step * g / sqrt(v + epsilon), as in Keras.
  };
  Kind kind = Kind::ascent;
  float step = 0.1f;
  float momentum = 0.9f;
  float beta1 = 0.9f;
  float beta2 = 0.999f;
  float rho = 0.9f;
  float epsilon = 1e-8f;
  float weight_decay = 0.f;  ///< Times x, subtracted from g.

  bool operator==(const Optimiser&) const = default;
};

/// What happens to the image after each step.
struct AfterStep {
  struct Interval {
    float low = 0.f;
    float high = 1.f;
    bool operator==(const Interval&) const = default;
  };
  float decay = 0.f;                            ///< The parameters lose this share.
  std::optional<Interval> clip = std::nullopt;  ///< Kind::pixels only: values are brought into it.
  int blur_every = 0;                           ///< Kind::pixels only: iterations between blurs; 0: none.
  float blur_deviation = 1.f;                   ///< Standard deviation of the Gaussian, in pixels.

  bool operator==(const AfterStep&) const = default;
};

/// How an image is brought to another size.
struct Resampling {
  enum class Kind {
    bilinear,
    bicubic,  ///< R. Keys, 1981, a = -0.5, weights renormalised at the border, as Pillow does.
  };
  Kind kind = Kind::bilinear;
  /// The new image gets the mean and the standard deviation of the old one.
  bool keep_moments = false;
  /// What is resampled is the 8-bit picture, and the image is read back from it as byte / 255.
  bool through_picture = false;

  bool operator==(const Resampling&) const = default;
};

/// One stage of an ascent: an image of one size, climbed for some iterations.
struct Stage {
  Extent extent{96, 96};  ///< Of the image.
  int iterations = 500;
  Start start = {};            ///< Unused in later stages.
  Resampling resampling = {};  ///< How the image of the stage before becomes this one's start.
  Parameterisation parameterisation = {};
  InputMapping input_mapping = identity_mapping();
  /// Applied to the image itself before each iteration, and kept, one sampling each: no gradient passes
  /// through them. Kind::pixels only; none of them pads or crops.
  Transforms kept_transforms = {};
  /// Applied to what the network sees; the gradient passes through them. Border::constant only.
  Transforms transforms = {};
  Objective objective = {};
  std::vector<Regulariser> regularisers = {};
  GradientNormalisation normalisation = {};
  Optimiser optimiser = {};
  AfterStep after_step = {};

  bool operator==(const Stage&) const = default;
};

/// How the finished image becomes an 8-bit picture. Picture channel c is image channel c.
struct Picture {
  enum class Kind {
    min_max,      ///< (x - min) / (max - min) over all three channels; a constant image becomes black.
    standardise,  ///< (x - mean) / (standard deviation + epsilon) * deviation + centre.
    clip,         ///< (x - low) / (high - low).
  };
  enum class Rounding { nearest, truncate };  ///< Halves up; towards zero.
  Kind kind = Kind::min_max;
  float deviation = 0.1f;
  float centre = 0.5f;
  float epsilon = 1e-5f;
  float low = 0.f;
  float high = 1.f;
  int crop = 0;  ///< Pixels cut off on each side. Mean and deviation are those of the whole image.
  /// Where given, the image is resampled to this size first, as between stages.
  std::optional<Extent> extent = std::nullopt;
  Resampling resampling = {};  ///< To that size.
  Rounding rounding = Rounding::nearest;

  bool operator==(const Picture&) const = default;
};

/// An ascent as data.
struct Recipe {
  std::string name = {};
  std::string summary = {};  ///< What it does, in a line.
  std::string source = {};   ///< Where it was published.
  std::vector<Stage> stages{Stage{}};
  Picture picture = {};
  int trace_points = 50;  ///< The loss is reported every max(1, iterations / trace_points) iterations.

  const Stage& first() const { return stages.front(); }
  const Stage& last() const { return stages.back(); }
  /// Steps of all stages.
  int iterations() const {
    int sum = 0;
    for (const Stage& stage : stages) sum += stage.iterations;
    return sum;
  }
  int trace_every() const { return std::max(1, iterations() / trace_points); }
  /// Of the finished picture.
  Extent picture_extent() const {
    const Extent whole = picture.extent.value_or(last().extent);
    return {whole.height - 2 * picture.crop, whole.width - 2 * picture.crop};
  }

  bool operator==(const Recipe&) const = default;
};

/// What the network sees in a stage: the image, padded and cropped.
Extent canvas_extent(const Stage& stage);

/// Positions of a map: rows top to bottom - 1, columns left to right - 1.
struct MapWindow {
  int top;
  int left;
  int bottom;
  int right;

  std::int64_t positions() const { return std::int64_t{bottom - top} * (right - left); }
  bool contains(int y, int x) const { return y >= top && y < bottom && x >= left && x < right; }
  bool operator==(const MapWindow&) const = default;
};
/// The positions of the target's map that an objective counts; none are left (bottom <= top or right <= left)
/// or the position lies outside of a map that is too small.
MapWindow counted_positions(const Objective& objective, Extent map);
/// The recipe with this many iterations, at least one a stage, shared among the stages in proportion.
Recipe with_iterations(Recipe recipe, int iterations);
/// The recipe with a last stage of this extent; the other stages and Picture::extent change in proportion.
Recipe with_extent(Recipe recipe, Extent last);
/// The recipe with the weights' natural input in place of auto_mapping(). Throws an input Error that says
/// what to do if the weights do not say what their natural input is.
Recipe with_input_of(Recipe recipe, const Weights& weights);

/// All recipes, the default first.
const std::vector<Recipe>& recipes();
/// The recipe of that name; an unknown name is a usage Error that lists the known ones.
const Recipe& find_recipe(std::string_view name);
/// Reads a recipe from a JSON file, whose form docs/recipe.md describes, or from the manifest.json of a run.
/// A file that cannot be read is an input Error, anything else that is wrong a usage Error that names the
/// file, where in it, what was expected and what was found.
Recipe read_recipe(const std::filesystem::path& file);

/// Throws a usage Error that names the value, what was expected and what was found, unless the recipe can be
/// run by a network whose smallest image is `smallest_image` wide. `origin` begins the message; empty: the
/// recipe's name. What depends on the layer is not checked.
void require_valid(const Recipe& recipe, int smallest_image, std::string_view origin = "");

}  // namespace filterscope
