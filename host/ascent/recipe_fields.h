#pragma once

#include <array>
#include <concepts>
#include <cstddef>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "recipe.h"

namespace filterscope::recipe_fields {

/// The fields of a recipe in one place: their names in JSON, the names of their kinds, and the ranges of
/// their values. visit_fields(visitor, object) shows each field that counts to a visitor that reads, writes
/// or checks it; fields of other kinds than the object's are left out.

/// Numbers from `low` to `high`, of which either may be excluded.
struct Range {
  double low;
  double high;
  bool above_low = false;
  bool below_high = false;
};
bool is_in(Range range, double value);
/// "a number above 0" for `what` "number".
std::string range_text(std::string_view what, Range range);
/// Throws a usage Error: "ORIGIN: PATH: expected ..., found ...".
[[noreturn]] void refuse_value(std::string_view origin, std::string_view path, std::string_view expected,
                               std::string_view found);

inline constexpr double kHuge = 1e30;  ///< Far from overflow, and more than any image needs.
inline constexpr Range kAny{-kHuge, kHuge};
inline constexpr Range kFromZero{0, kHuge};
inline constexpr Range kAboveZero{0, kHuge, true};
inline constexpr Range kBelowOne{0, 1, false, true};
inline constexpr Range kPixels{0, kLargestImage};

template <typename Value>
struct Named {
  Value value;
  std::string_view name;
};

inline constexpr std::array kStartKinds{Named{Start::Kind::uniform, "uniform"},
                                        Named{Start::Kind::gaussian, "gaussian"},
                                        Named{Start::Kind::constant, "constant"}};
inline constexpr std::array kParameterisationKinds{Named{Parameterisation::Kind::pixels, "pixels"},
                                                   Named{Parameterisation::Kind::fourier, "fourier"}};
inline constexpr std::array kColours{Named{Parameterisation::Colour::as_is, "as_is"},
                                     Named{Parameterisation::Colour::decorrelated, "decorrelated"},
                                     Named{Parameterisation::Colour::standardised, "standardised"}};
inline constexpr std::array kImageRanges{Named{Parameterisation::Range::unbounded, "unbounded"},
                                         Named{Parameterisation::Range::sigmoid, "sigmoid"}};
inline constexpr std::array kBorders{Named{Border::constant, "constant"}, Named{Border::edge, "edge"},
                                     Named{Border::reflect, "reflect"}, Named{Border::wrap, "wrap"}};
inline constexpr std::array kTransformKinds{
    Named{Transform::Kind::pad, "pad"},       Named{Transform::Kind::crop, "crop"},
    Named{Transform::Kind::jitter, "jitter"}, Named{Transform::Kind::scale, "scale"},
    Named{Transform::Kind::rotate, "rotate"}, Named{Transform::Kind::flip, "flip"}};
inline constexpr std::array kObjectiveKinds{Named{Objective::Kind::mean, "mean"},
                                            Named{Objective::Kind::position, "position"}};
inline constexpr std::array kRegulariserKinds{
    Named{Regulariser::Kind::total_variation_l1, "total_variation_l1"},
    Named{Regulariser::Kind::total_variation_l2, "total_variation_l2"},
    Named{Regulariser::Kind::lp_norm, "lp_norm"}, Named{Regulariser::Kind::mean_magnitude, "mean_magnitude"}};
inline constexpr std::array kNormalisationKinds{Named{GradientNormalisation::Kind::none, "none"},
                                                Named{GradientNormalisation::Kind::l2, "l2"},
                                                Named{GradientNormalisation::Kind::rms, "rms"}};
inline constexpr std::array kEpsilonPlaces{Named{GradientNormalisation::EpsilonPlace::least_sum, "least_sum"},
                                           Named{GradientNormalisation::EpsilonPlace::added, "added"}};
inline constexpr std::array kOptimiserKinds{
    Named{Optimiser::Kind::ascent, "ascent"}, Named{Optimiser::Kind::momentum, "momentum"},
    Named{Optimiser::Kind::adam, "adam"}, Named{Optimiser::Kind::rmsprop, "rmsprop"}};
inline constexpr std::array kResamplingKinds{Named{Resampling::Kind::bilinear, "bilinear"},
                                             Named{Resampling::Kind::bicubic, "bicubic"}};
inline constexpr std::array kPictureKinds{Named{Picture::Kind::min_max, "min_max"},
                                          Named{Picture::Kind::standardise, "standardise"},
                                          Named{Picture::Kind::clip, "clip"}};
inline constexpr std::array kRoundings{Named{Picture::Rounding::nearest, "nearest"},
                                       Named{Picture::Rounding::truncate, "truncate"}};

/// T or const T.
template <typename Object, typename T>
concept Is = std::same_as<std::remove_const_t<Object>, T>;

/// Visitors have:
///   kind(object, names)                    object.kind, first
///   choice(key, value, names)              an enum, or an optional one
///   number(key, float, range), count(key, int, range), flag(key, bool), text(key, string)
///   interval(key, optional of low and high, range), draw(key, Draw, range), extent(key, Extent or an
///   optional one), position(key, optional Position), mapping(key, InputMapping)
///   object(key, object, argument...)       visits its fields
///   list(key, vector, argument...)         visits the fields of each element

template <typename Visitor, Is<Start> T>
void visit_fields(Visitor& visit, T& start) {
  visit.kind(start, kStartKinds);
  if (start.kind == Start::Kind::uniform) {
    visit.number("low", start.low, kAny);
    visit.number("high", start.high, kAny);
  } else if (start.kind == Start::Kind::gaussian) {
    visit.number("mean", start.mean, kAny);
    visit.number("deviation", start.deviation, kAboveZero);
  } else {
    visit.number("value", start.value, kAny);
  }
}

template <typename Visitor, Is<Parameterisation> T>
void visit_fields(Visitor& visit, T& parameterisation) {
  visit.kind(parameterisation, kParameterisationKinds);
  if (parameterisation.kind == Parameterisation::Kind::fourier)
    visit.number("decay", parameterisation.decay, Range{0, 10});
  visit.choice("colour", parameterisation.colour, kColours);
  visit.choice("range", parameterisation.range, kImageRanges);
}

template <typename Visitor, Is<Transform> T>
void visit_fields(Visitor& visit, T& transform, bool kept) {
  visit.kind(transform, kTransformKinds);
  if (transform.kind == Transform::Kind::scale)
    visit.draw("factors", transform.draw, Range{0.01, 100});
  else if (transform.kind == Transform::Kind::rotate)
    visit.draw("degrees", transform.draw, Range{-360, 360});
  else if (transform.kind != Transform::Kind::flip)
    visit.count("pixels", transform.pixels, kPixels);
  if (kept) visit.choice("border", transform.border, kBorders);
}

template <typename Visitor, Is<Transforms> T>
void visit_fields(Visitor& visit, T& transforms, bool kept) {
  visit.list("list", transforms.list, kept);
  visit.choice("border", transforms.border, kBorders);
  visit.number("value", transforms.value, kAny);
}

template <typename Visitor, Is<Objective> T>
void visit_fields(Visitor& visit, T& objective) {
  visit.kind(objective, kObjectiveKinds);
  if (objective.kind == Objective::Kind::mean)
    visit.count("margin", objective.margin, kPixels);
  else
    visit.position("position", objective.position);
  visit.flag("before_relu", objective.before_relu);
  visit.flag("minimise", objective.minimise);
  visit.flag("rescue", objective.rescue);
}

template <typename Visitor, Is<Regulariser> T>
void visit_fields(Visitor& visit, T& regulariser) {
  visit.kind(regulariser, kRegulariserKinds);
  visit.number("weight", regulariser.weight, kFromZero);
  if (regulariser.kind == Regulariser::Kind::lp_norm) visit.number("power", regulariser.power, Range{1, 100});
}

template <typename Visitor, Is<GradientNormalisation> T>
void visit_fields(Visitor& visit, T& normalisation) {
  visit.kind(normalisation, kNormalisationKinds);
  if (normalisation.kind == GradientNormalisation::Kind::none) return;
  visit.number("epsilon", normalisation.epsilon, kFromZero);
  visit.choice("epsilon_place", normalisation.epsilon_place, kEpsilonPlaces);
}

template <typename Visitor, Is<Optimiser> T>
void visit_fields(Visitor& visit, T& optimiser) {
  using Kind = Optimiser::Kind;
  visit.kind(optimiser, kOptimiserKinds);
  visit.number("step", optimiser.step, kAboveZero);
  if (optimiser.kind == Kind::momentum) visit.number("momentum", optimiser.momentum, kBelowOne);
  if (optimiser.kind == Kind::adam) {
    visit.number("beta1", optimiser.beta1, kBelowOne);
    visit.number("beta2", optimiser.beta2, kBelowOne);
  }
  if (optimiser.kind == Kind::rmsprop) visit.number("rho", optimiser.rho, kBelowOne);
  if (optimiser.kind == Kind::adam || optimiser.kind == Kind::rmsprop)
    visit.number("epsilon", optimiser.epsilon, kAboveZero);
  visit.number("weight_decay", optimiser.weight_decay, kFromZero);
}

template <typename Visitor, Is<AfterStep> T>
void visit_fields(Visitor& visit, T& after) {
  visit.number("decay", after.decay, kBelowOne);
  visit.interval("clip", after.clip, kAny);
  visit.count("blur_every", after.blur_every, Range{0, kMostIterations});
  visit.number("blur_deviation", after.blur_deviation, Range{0, 100, true});
}

template <typename Visitor, Is<Resampling> T>
void visit_fields(Visitor& visit, T& resampling) {
  visit.kind(resampling, kResamplingKinds);
  visit.flag("keep_moments", resampling.keep_moments);
  visit.flag("through_picture", resampling.through_picture);
}

template <typename Visitor, Is<Stage> T>
void visit_fields(Visitor& visit, T& stage, bool first) {
  visit.extent("size", stage.extent);
  visit.count("iterations", stage.iterations, Range{1, kMostIterations});
  if (first)
    visit.object("start", stage.start);
  else
    visit.object("resampling", stage.resampling);
  visit.object("parameterisation", stage.parameterisation);
  visit.mapping("input_mapping", stage.input_mapping);
  visit.object("kept_transforms", stage.kept_transforms, true);
  visit.object("transforms", stage.transforms, false);
  visit.object("objective", stage.objective);
  visit.list("regularisers", stage.regularisers);
  visit.object("normalisation", stage.normalisation);
  visit.object("optimiser", stage.optimiser);
  visit.object("after_step", stage.after_step);
}

template <typename Visitor, Is<Picture> T>
void visit_fields(Visitor& visit, T& picture) {
  visit.kind(picture, kPictureKinds);
  if (picture.kind == Picture::Kind::standardise) {
    visit.number("deviation", picture.deviation, kAboveZero);
    visit.number("centre", picture.centre, kAny);
    visit.number("epsilon", picture.epsilon, kFromZero);
  } else if (picture.kind == Picture::Kind::clip) {
    visit.number("low", picture.low, kAny);
    visit.number("high", picture.high, kAny);
  }
  visit.extent("size", picture.extent);
  visit.object("resampling", picture.resampling);
  visit.count("crop", picture.crop, kPixels);
  visit.choice("rounding", picture.rounding, kRoundings);
}

/// All but the stages, which depend on each other.
template <typename Visitor, Is<Recipe> T>
void visit_fields(Visitor& visit, T& recipe) {
  visit.text("name", recipe.name);
  visit.text("summary", recipe.summary);
  visit.text("source", recipe.source);
  visit.count("trace_points", recipe.trace_points, Range{1, kMostIterations});
  visit.object("picture", recipe.picture);
  visit.stages("stages", recipe.stages);
}

/// The input mappings that have names.
struct KnownMapping {
  std::string_view name;
  InputMapping mapping;
};
const std::vector<KnownMapping>& known_mappings();

/// The name of a value of an enum.
template <typename Value, std::size_t N>
std::string_view name_of(Value value, const std::array<Named<Value>, N>& names) {
  for (const Named<Value>& named : names)
    if (named.value == value) return named.name;
  return "?";
}

}  // namespace filterscope::recipe_fields
