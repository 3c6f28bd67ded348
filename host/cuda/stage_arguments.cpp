#include "stage_arguments.h"

#include <array>

#include "../ascent/operations/colour.h"

namespace filterscope::cuda {

namespace {

using Channels = std::array<float, 3>;

Channels unit(int channel) {
  Channels channels{};
  channels[channel] = 1;
  return channels;
}

Parameterisation colour_of(Parameterisation parameterisation) {
  parameterisation.range = Parameterisation::Range::unbounded;
  return parameterisation;
}

}  // namespace

kernels::ColourMap colour_map(const Parameterisation& parameterisation) {
  const Parameterisation colour = colour_of(parameterisation);
  kernels::ColourMap map;
  map.sigmoid = parameterisation.range == Parameterisation::Range::sigmoid;
  Channels offset{};
  to_image(colour, offset);
  for (int row = 0; row < 3; ++row) {
    map.offset[row] = offset[row];
    // The transposed matrix times a unit vector is a row of the matrix.
    Channels factors = unit(row);
    image_adjoint(colour, {}, factors);
    for (int column = 0; column < 3; ++column) map.matrix[row][column] = factors[column];
  }
  return map;
}

kernels::ColourMap inverse_colour_map(const Parameterisation& parameterisation) {
  const Parameterisation colour = colour_of(parameterisation);
  kernels::ColourMap map = colour_map(parameterisation);
  Channels origin{};
  from_image(colour, origin);
  for (int column = 0; column < 3; ++column) {
    Channels values = unit(column);
    from_image(colour, values);
    for (int row = 0; row < 3; ++row) map.matrix[row][column] = values[row] - origin[row];
  }
  return map;
}

kernels::DrawMapsArguments draw_arguments(const Transforms& transforms, std::vector<float>& choices) {
  static_assert(kernels::kMostTransforms == kMostTransforms);
  kernels::DrawMapsArguments arguments{};
  for (const Transform& transform : transforms.list) {
    kernels::RandomTransform& to = arguments.transforms[arguments.transforms_count++];
    using Kind = kernels::RandomTransform::Kind;
    switch (transform.kind) {
      case Transform::Kind::pad:
      case Transform::Kind::crop:
        continue;
      case Transform::Kind::jitter:
        to.kind = Kind::jitter;
        break;
      case Transform::Kind::scale:
        to.kind = Kind::scale;
        break;
      case Transform::Kind::rotate:
        to.kind = Kind::rotate;
        break;
      case Transform::Kind::flip:
        to.kind = Kind::flip;
        break;
    }
    to.pixels = transform.pixels;
    to.low = transform.draw.low;
    to.high = transform.draw.high;
    to.first_choice = static_cast<int>(choices.size());
    to.choices_count = static_cast<int>(transform.draw.choices.size());
    choices.insert(choices.end(), transform.draw.choices.begin(), transform.draw.choices.end());
  }
  return arguments;
}

kernels::WarpBorder warp_border(Border border) {
  switch (border) {
    case Border::constant:
      return kernels::WarpBorder::constant;
    case Border::edge:
      return kernels::WarpBorder::edge;
    case Border::reflect:
      return kernels::WarpBorder::reflect;
    case Border::wrap:
      break;
  }
  return kernels::WarpBorder::wrap;
}

kernels::NormalisationRule normalisation_rule(const GradientNormalisation& normalisation) {
  using From = GradientNormalisation::Kind;
  using To = kernels::NormalisationRule::Kind;
  return {.kind = normalisation.kind == From::none ? To::none
                  : normalisation.kind == From::l2 ? To::l2
                                                   : To::rms,
          .epsilon = normalisation.epsilon,
          .epsilon_added = normalisation.epsilon_place == GradientNormalisation::EpsilonPlace::added};
}

kernels::OptimiserRule optimiser_rule(const Optimiser& optimiser, const AfterStep& after) {
  using From = Optimiser::Kind;
  using To = kernels::OptimiserRule::Kind;
  const AfterStep::Interval interval = after.clip.value_or(AfterStep::Interval{});
  return {.kind = optimiser.kind == From::ascent     ? To::ascent
                  : optimiser.kind == From::momentum ? To::momentum
                  : optimiser.kind == From::adam     ? To::adam
                                                     : To::rmsprop,
          .step = optimiser.step,
          .momentum = optimiser.momentum,
          .beta1 = optimiser.beta1,
          .beta2 = optimiser.beta2,
          .rho = optimiser.rho,
          .epsilon = optimiser.epsilon,
          .weight_decay = optimiser.weight_decay,
          .decay = after.decay,
          .clips = after.clip.has_value(),
          .low = interval.low,
          .high = interval.high};
}

kernels::EncodePictureArguments encode_arguments(const Picture& picture, Extent extent) {
  using From = Picture::Kind;
  using To = kernels::PictureKind;
  return {.images = nullptr,
          .pictures = nullptr,
          .kind = picture.kind == From::min_max       ? To::min_max
                  : picture.kind == From::standardise ? To::standardise
                                                      : To::clip,
          .deviation = picture.deviation,
          .centre = picture.centre,
          .epsilon = picture.epsilon,
          .low = picture.low,
          .high = picture.high,
          .truncates = picture.rounding == Picture::Rounding::truncate,
          .images_count = 0,
          .height = extent.height,
          .width = extent.width};
}

}  // namespace filterscope::cuda
