#pragma once

#include <string>
#include <utility>
#include <vector>

#include "host/ascent/recipe.h"
#include "host/model/input_mapping.h"

namespace filterscope::test {

/// Recipes that between them use every operation, for small images, by name.
inline std::vector<std::pair<std::string, Recipe>> recipe_cases() {
  std::vector<std::pair<std::string, Recipe>> cases;
  const auto add = [&](std::string name, auto change) {
    Recipe recipe;
    recipe.name = name;
    Stage& stage = recipe.stages[0];
    stage.extent = {12, 11};
    stage.iterations = 4;
    stage.input_mapping = identity_mapping();
    recipe.trace_points = 4;
    change(recipe, stage);
    cases.emplace_back(std::move(name), std::move(recipe));
  };
  const Transform jitter{.kind = Transform::Kind::jitter, .pixels = 4, .draw = {}};
  const Transform scale{
      .kind = Transform::Kind::scale, .pixels = 0, .draw = {.choices = {}, .low = 0.9f, .high = 1.1f}};
  const Transform rotate{.kind = Transform::Kind::rotate, .pixels = 0, .draw = {.choices = {-5.f, 0.f, 5.f}}};
  const Transform flip{.kind = Transform::Kind::flip, .pixels = 0, .draw = {}};
  const Transform pad{.kind = Transform::Kind::pad, .pixels = 3, .draw = {}};
  const Transform crop{.kind = Transform::Kind::crop, .pixels = 2, .draw = {}};

  add("fourier, sigmoid, transforms, Adam", [&](Recipe& recipe, Stage& stage) {
    stage.start = {.kind = Start::Kind::gaussian, .mean = 0.f, .deviation = 0.3f};
    stage.parameterisation = {.kind = Parameterisation::Kind::fourier,
                              .decay = 1.f,
                              .colour = Parameterisation::Colour::decorrelated,
                              .range = Parameterisation::Range::sigmoid};
    stage.input_mapping = {
        .name = "wide", .source = {2, 1, 0}, .scale = {4, 4, 4}, .offset = {-2, -1.5f, -1}};
    stage.transforms = {
        .list = {pad, flip, jitter, scale, rotate, crop}, .border = Border::constant, .value = 0.5f};
    stage.normalisation.kind = GradientNormalisation::Kind::none;
    stage.optimiser = {.kind = Optimiser::Kind::adam, .step = 0.05f};
    stage.after_step.decay = 0.02f;
    recipe.picture.kind = Picture::Kind::clip;
  });
  add("pixels, kept transforms, regularisers, RMSprop, before the ReLU", [&](Recipe& recipe, Stage& stage) {
    stage.start = {.kind = Start::Kind::uniform, .low = -1.f, .high = 2.f};
    stage.kept_transforms = {.list = {jitter, rotate}, .border = Border::reflect};
    stage.objective.before_relu = true;
    stage.regularisers = {{.kind = Regulariser::Kind::total_variation_l1, .weight = 0.05f},
                          {.kind = Regulariser::Kind::mean_magnitude, .weight = 0.01f},
                          {.kind = Regulariser::Kind::lp_norm, .weight = 0.5f, .power = 2.f}};
    stage.normalisation.kind = GradientNormalisation::Kind::none;
    stage.optimiser = {.kind = Optimiser::Kind::rmsprop, .step = 0.02f, .rho = 0.99f, .epsilon = 1e-7f};
    recipe.picture = {.kind = Picture::Kind::clip, .low = -1.f, .high = 2.f};
    recipe.picture.rounding = Picture::Rounding::truncate;
  });
  add("margin, crop, standardised picture", [&](Recipe& recipe, Stage& stage) {
    stage.start = {.kind = Start::Kind::uniform, .low = 0.4f, .high = 0.6f};
    stage.objective.margin = 1;
    stage.normalisation = {.kind = GradientNormalisation::Kind::rms,
                           .epsilon = 1e-5f,
                           .epsilon_place = GradientNormalisation::EpsilonPlace::added};
    stage.optimiser.step = 0.05f;
    recipe.picture = {.kind = Picture::Kind::standardise, .deviation = 0.15f, .crop = 2};
  });
  add("a position, momentum, clip, blur", [&](Recipe&, Stage& stage) {
    stage.objective.kind = Objective::Kind::position;
    stage.regularisers = {{.kind = Regulariser::Kind::total_variation_l2, .weight = 0.1f}};
    stage.optimiser = {
        .kind = Optimiser::Kind::momentum, .step = 0.1f, .momentum = 0.5f, .weight_decay = 0.01f};
    stage.after_step = {
        .decay = 0.001f, .clip = AfterStep::Interval{0.f, 1.f}, .blur_every = 2, .blur_deviation = 0.6f};
  });
  add("minimised position", [&](Recipe&, Stage& stage) {
    stage.objective.kind = Objective::Kind::position;
    stage.objective.position = Objective::Position{1, 0};
    stage.objective.before_relu = true;
    stage.objective.minimise = true;
  });
  add("three stages", [&](Recipe& recipe, Stage& stage) {
    stage.start = {.kind = Start::Kind::uniform, .low = 0.45f, .high = 0.55f};
    stage.parameterisation.colour = Parameterisation::Colour::standardised;
    stage.extent = {8, 7};
    stage.iterations = 2;
    stage.optimiser = {.kind = Optimiser::Kind::adam, .step = 0.1f, .weight_decay = 0.001f};
    Stage second = stage;
    second.extent = {10, 9};
    second.iterations = 3;
    second.resampling = {.kind = Resampling::Kind::bicubic, .keep_moments = true};
    second.transforms = {.list = {jitter}, .border = Border::constant, .value = 0.f};
    Stage third = second;
    third.extent = {13, 11};
    third.resampling = {.kind = Resampling::Kind::bicubic, .keep_moments = false, .through_picture = true};
    third.parameterisation = {};
    third.transforms = {};
    third.optimiser = {};
    recipe.stages = {stage, second, third};
    recipe.picture = {.kind = Picture::Kind::standardise, .deviation = 0.25f};
    recipe.picture.extent = Extent{15, 13};
    recipe.picture.resampling = third.resampling;
  });
  return cases;
}

}  // namespace filterscope::test
