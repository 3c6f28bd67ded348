#include <array>
#include <cstddef>
#include <span>
#include <vector>

#include "recipe.h"

namespace filterscope {
namespace {

using Colour = Parameterisation::Colour;
using EpsilonPlace = GradientNormalisation::EpsilonPlace;
using Range = Parameterisation::Range;

/// As the scripts of Keras make pictures, whose 8 bits come from numpy's astype, which truncates.
Picture standardised_picture(float deviation, float epsilon) {
  Picture picture;
  picture.kind = Picture::Kind::standardise;
  picture.deviation = deviation;
  picture.epsilon = epsilon;
  picture.rounding = Picture::Rounding::truncate;
  return picture;
}

Picture clipped_picture(float high, Picture::Rounding rounding) {
  Picture picture;
  picture.kind = Picture::Kind::clip;
  picture.high = high;
  picture.rounding = rounding;
  return picture;
}

/// Adds stages that are as the last one but for their sizes.
void add_stages(Recipe& recipe, std::span<const int> sides) {
  for (const int side : sides) {
    recipe.stages.push_back(recipe.last());
    recipe.stages.back().extent = {side, side};
  }
}

Recipe seed() {
  Recipe recipe;
  recipe.name = "seed";
  recipe.summary = "Normalised gradient steps from uniform noise; the picture from minimum to maximum";
  recipe.source = "vijitVM/CNN-Filter-Visulization, CNN_Filter_Visulization.ipynb (TensorFlow 2.7)";
  return recipe;
}

Recipe keras2016() {
  Recipe recipe;
  recipe.name = "keras2016";
  recipe.summary =
      "20 steps of the gradient's root mean square from grey noise; the picture by mean and deviation";
  recipe.source =
      "Keras, examples/conv_filter_visualization.py (2016); F. Chollet, blog.keras.io, 2016-01-30";
  Stage& stage = recipe.stages.front();
  stage.extent = {128, 128};
  stage.iterations = 20;
  stage.start.low = 118;
  stage.start.high = 138;
  stage.normalisation = {GradientNormalisation::Kind::rms, 1e-5f, EpsilonPlace::added};
  stage.optimiser.step = 1;
  recipe.picture = standardised_picture(0.1f, 1e-5f);
  return recipe;
}

Recipe keras2019() {
  Recipe recipe = keras2016();
  recipe.name = "keras2019";
  recipe.summary =
      "As keras2016, in nine stages of 79 to 343 pixels, each from the picture of the one before";
  recipe.source = "Keras, examples/conv_filter_visualization.py (2019, pull request 12203)";
  Stage& stage = recipe.stages.front();
  stage.extent = {79, 79};
  stage.iterations = 15;
  stage.normalisation.epsilon = 1e-7f;
  stage.resampling = {.kind = Resampling::Kind::bicubic, .keep_moments = false, .through_picture = true};
  add_stages(recipe, std::array{95, 114, 137, 165, 198, 238, 286, 343});
  recipe.stages.front().resampling = {};
  recipe.picture = standardised_picture(0.25f, 1e-7f);
  recipe.picture.extent = {412, 412};
  recipe.picture.resampling = recipe.last().resampling;
  return recipe;
}

Recipe kerasio() {
  Recipe recipe;
  recipe.name = "kerasio";
  recipe.summary = "30 long normalised steps on the map without its border; the picture without its border";
  recipe.source =
      "keras.io, visualizing_what_convnets_learn.py (2020), its range of -1..1 as VGG's grey levels";
  Stage& stage = recipe.stages.front();
  stage.extent = {180, 180};
  stage.iterations = 30;
  stage.start.low = -0.125f;
  stage.start.high = 0.125f;
  stage.input_mapping = {
      .name = "bgr-127.5", .source = {2, 1, 0}, .scale = {127.5f, 127.5f, 127.5f}, .offset = {0, 0, 0}};
  stage.objective.margin = 2;
  stage.optimiser.step = 10;
  recipe.picture = standardised_picture(0.15f, 1e-5f);
  recipe.picture.crop = 25;
  return recipe;
}

Recipe tf_keras_vis() {
  Recipe recipe;
  recipe.name = "tf-keras-vis";
  recipe.summary = "RMSprop before the ReLU with total variation; the image itself is shifted and turned";
  recipe.source = "keisen/tf-keras-vis, ActivationMaximization with its defaults for VGG16";
  Stage& stage = recipe.stages.front();
  stage.extent = {224, 224};
  stage.iterations = 200;
  stage.start.high = 255;
  stage.kept_transforms.list = {
      {.kind = Transform::Kind::jitter, .pixels = 8, .border = Border::wrap},
      {.kind = Transform::Kind::rotate, .draw = {.low = -1, .high = 1}, .border = Border::reflect}};
  stage.objective.before_relu = true;
  stage.regularisers = {{Regulariser::Kind::total_variation_l1, 1.f},
                        {Regulariser::Kind::mean_magnitude, 0.3f}};
  stage.normalisation.kind = GradientNormalisation::Kind::none;
  stage.optimiser.kind = Optimiser::Kind::rmsprop;
  stage.optimiser.step = 1;
  stage.optimiser.rho = 0.999f;
  stage.optimiser.epsilon = 1e-7f;
  recipe.picture = clipped_picture(255, Picture::Rounding::truncate);
  return recipe;
}

/// A sigmoid of a spectrum with decorrelated colours, climbed by Adam.
Recipe spectrum() {
  Recipe recipe;
  Stage& stage = recipe.stages.front();
  stage.extent = {128, 128};
  stage.start.kind = Start::Kind::gaussian;
  stage.start.deviation = 0.01f;
  stage.parameterisation = {Parameterisation::Kind::fourier, 1.f, Colour::decorrelated, Range::sigmoid};
  stage.input_mapping = auto_mapping();
  stage.transforms.value = 0.5f;
  stage.normalisation.kind = GradientNormalisation::Kind::none;
  stage.optimiser.kind = Optimiser::Kind::adam;
  stage.optimiser.step = 0.05f;
  recipe.picture = clipped_picture(1, Picture::Rounding::nearest);
  return recipe;
}

Recipe lucid() {
  Recipe recipe = spectrum();
  recipe.name = "lucid";
  recipe.summary = "Adam on a spectrum with decorrelated colours, robust to shifts, scales and rotations";
  recipe.source = "tensorflow/lucid, optvis/render.py, param and transform.py with their defaults";
  Stage& stage = recipe.stages.front();
  stage.iterations = 512;
  Draw scales;
  for (int percent = 90; percent <= 110; percent += 2)
    scales.choices.push_back(static_cast<float>(percent) / 100);
  Draw degrees;
  for (int degree = -10; degree <= 10; ++degree) degrees.choices.push_back(static_cast<float>(degree));
  degrees.choices.insert(degrees.choices.end(), 5, 0.f);
  // Lucid crops at random, by 8 pixels and then by 4, which shifts by -4..4 and by -2..2.
  stage.transforms.list = {
      {.kind = Transform::Kind::pad, .pixels = 12},     {.kind = Transform::Kind::jitter, .pixels = 9},
      {.kind = Transform::Kind::scale, .draw = scales}, {.kind = Transform::Kind::rotate, .draw = degrees},
      {.kind = Transform::Kind::jitter, .pixels = 5},   {.kind = Transform::Kind::crop, .pixels = 12}};
  return recipe;
}

Recipe fg91() {
  Recipe recipe;
  recipe.name = "fg91";
  recipe.summary = "Adam on standardised pixels before the ReLU, in twelve stages of 56 to 408 pixels";
  recipe.source = "fg91/visualizing-cnn-feature-maps, filtervisualizer.py with its defaults";
  Stage& stage = recipe.stages.front();
  stage.extent = {56, 56};
  stage.iterations = 20;
  stage.start.low = 128.f / 255;
  stage.start.high = 148.f / 255;
  stage.resampling.kind = Resampling::Kind::bicubic;
  stage.parameterisation.colour = Colour::standardised;
  stage.input_mapping = auto_mapping();
  stage.objective.before_relu = true;
  stage.normalisation.kind = GradientNormalisation::Kind::none;
  stage.optimiser.kind = Optimiser::Kind::adam;
  stage.optimiser.weight_decay = 1e-6f;
  add_stages(recipe, std::array{67, 80, 96, 115, 138, 165, 198, 237, 284, 340, 408});
  for (std::size_t i = 7; i < recipe.stages.size(); ++i) recipe.stages[i].iterations = 26;
  recipe.stages.front().resampling = {};
  recipe.picture = clipped_picture(1, Picture::Rounding::truncate);
  return recipe;
}

Recipe clear() {
  Recipe recipe = spectrum();
  recipe.name = "clear";
  recipe.summary =
      "Large, clear structures in few steps: Adam on a smooth spectrum, mild transforms, calm colours";
  recipe.source = "filterscope";
  Stage& stage = recipe.stages.front();
  // The network sees 128 x 128 of an image that is larger by more than the shifts, without the positions at
  // its border; the picture is what is always seen.
  stage.extent = {160, 160};
  stage.iterations = 160;
  stage.parameterisation.decay = 1.2f;
  stage.transforms.list = {{.kind = Transform::Kind::rotate, .draw = {.low = -5, .high = 5}},
                           {.kind = Transform::Kind::scale, .draw = {.low = 0.92f, .high = 1.08f}},
                           {.kind = Transform::Kind::jitter, .pixels = 17},
                           {.kind = Transform::Kind::crop, .pixels = 16}};
  stage.objective.margin = 1;
  recipe.picture.crop = 16;
  // Keeps colours from running into black and white.
  stage.after_step.decay = 0.03f;
  return recipe;
}

}  // namespace

const std::vector<Recipe>& recipes() {
  static const std::vector<Recipe> all{seed(),         keras2016(), keras2019(), kerasio(),
                                       tf_keras_vis(), lucid(),     fg91(),      clear()};
  return all;
}

}  // namespace filterscope
